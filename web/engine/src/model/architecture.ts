import type { PlanBuilder } from "./builder.ts";
import type { Config } from "./config.ts";
import type { Keys } from "./keys.ts";
import type { Activation, RopeStyle } from "./plan.ts";

/** The properties that a `general.architecture` of GGUF files implies. */
export interface GGUFVariant {
  activation: Activation;
  rope_style?: RopeStyle;
  /** The head is the embedding, even if the file holds another. */
  tied_head?: boolean;
}

/** A family of decoders: what its GGUF files are called, its plan, and the tensors of a layer. */
export interface Architecture {
  readonly name: string;
  readonly gguf: Readonly<Record<string, GGUFVariant>>;
  plan(builder: PlanBuilder): void;
  /** The norms of a layer. */
  readonly norms: readonly string[];
  /** The matrices of a layer that have a bias. */
  readonly biases?: readonly string[];
  /** The fields that only this architecture reads from its file's keys. */
  read?(keys: Keys, config: Config): Partial<Config>;
}

/** The shape of every tensor that a layer needs, by name without `blk.N.`. */
export function layerShapes(architecture: Architecture, config: Config): Map<string, readonly number[]> {
  const { hidden_size: hidden, intermediate_size: intermediate, head_dim } = config;
  const q = config.num_heads * head_dim;
  const kv = config.num_kv_heads * head_dim;
  const matrices: Record<string, [number, number]> = {
    attn_q: [q, hidden],
    attn_k: [kv, hidden],
    attn_v: [kv, hidden],
    attn_output: [hidden, q],
    ffn_gate: [intermediate, hidden],
    ffn_up: [intermediate, hidden],
    ffn_down: [hidden, intermediate],
  };
  const widths: Record<string, number> = {
    ffn_sub_norm: intermediate,
    attn_sub_norm: q,
    attn_q_norm: head_dim,
    attn_k_norm: head_dim,
  };
  return new Map<string, readonly number[]>([
    ...architecture.norms.map((norm) => [`${norm}.weight`, [widths[norm] ?? hidden]] as const),
    ...Object.entries(matrices).map(([name, shape]) => [`${name}.weight`, shape] as const),
    ...(architecture.biases ?? []).map((name) => [`${name}.bias`, [matrices[name][0]]] as const),
  ]);
}

/** The norms that a layer may have directly before single matrices. */
export function inputNormShapes(architecture: Architecture, config: Config): Map<string, readonly number[]> {
  const shapes = [...layerShapes(architecture, config)].filter(([, shape]) => shape.length === 2);
  return new Map(shapes.map(([name, shape]) => [name.replace(/\.weight$/, "_norm_in.weight"), [shape[1]]]));
}

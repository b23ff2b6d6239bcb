import type { Activations, Encoding } from "../files/encodings.ts";
import { type Config, hasLocalRope, ropeFrequencies, window } from "./config.ts";
import type { Operation, Plan } from "./plan.ts";

/** What the builder asks of a tensor. */
export interface Described {
  readonly shape: readonly number[];
  readonly encoding: Encoding;
}

/** Appends operations to a plan, one call for each step of the mathematics; each method names its output slot first.
 * The same steps as `model/builder.py`. */
export class PlanBuilder {
  private readonly plan: Plan;

  constructor(
    readonly config: Config,
    private readonly tensors: ReadonlyMap<string, Described>,
  ) {
    const head = config.tied_head ? "token_embd.weight" : "output.weight";
    this.plan = {
      vocab_size: config.vocab_size,
      head: { weight: head, ...this.activations(head) },
      output: "hidden",
      slots: {},
      caches: {},
      states: {},
      frequencies: {},
      signs: {},
      operations: [],
      version: 1,
    };
  }

  embed(out: string, weight: string): void {
    this.append({ kind: "embed", out, weight }, this.config.hidden_size);
    if (this.config.hadamard?.inverse.has(weight)) this.hadamard(out, out, "inverse");
  }

  norm(out: string, x: string, weight: string, { eps = this.config.rms_norm_eps, heads = 1 } = {}): void {
    this.append({ kind: "norm", out, x, weight, eps, heads }, this.plan.slots[x]);
  }

  /** Matrices that read the same slot: `matrices` maps each output slot to a tensor's name without `.weight`. A matrix
   * may have a norm of its own (`NAME_norm_in.weight`), a rotation of its input, and a `NAME.bias`. */
  linears(x: string, matrices: Record<string, string>): void {
    const inputs = new Map<string, string>();
    for (const [out, name] of Object.entries(matrices)) {
      inputs.set(out, x);
      const norm = `${name}_norm_in.weight`;
      if (!this.tensors.has(norm)) continue;
      const normed = `${name.slice(name.lastIndexOf(".") + 1)}_norm_in`;
      this.norm(normed, x, norm, { eps: this.config.input_norm_eps ?? this.config.rms_norm_eps });
      inputs.set(out, normed);
    }
    const rotated = Object.keys(matrices).filter((out) => this.isRotated(`${matrices[out]}.weight`));
    for (const read of new Set(rotated.map((out) => inputs.get(out) as string)))
      this.hadamard(`${read}_rotated`, read, "forward");
    for (const out of rotated) inputs.set(out, `${inputs.get(out)}_rotated`);
    for (const [out, name] of Object.entries(matrices)) {
      const weight = `${name}.weight`;
      const bias = this.tensors.has(`${name}.bias`) ? `${name}.bias` : null;
      const read = inputs.get(out) as string;
      const rows = (this.tensors.get(weight) as Described).shape[0];
      this.append({ kind: "linear", out, x: read, weight, bias, ...this.activations(weight) }, rows);
    }
  }

  /** Rotates slot `x` in place, by the frequencies of `layer`. */
  rope(x: string, heads: number, layer: number): void {
    const name = hasLocalRope(this.config, layer) ? "rope_local" : "rope";
    this.plan.frequencies[name] = ropeFrequencies(this.config, layer);
    this.append(
      { kind: "rope", out: x, x, heads, style: this.config.rope_style, frequencies: name },
      this.plan.slots[x],
    );
  }

  /** Causal attention in the next layer of its cache group. */
  attention(out: string, q: string, k: string, v: string, layer: number): void {
    const { config } = this;
    const seen = window(config, layer);
    const cache = seen === null ? "full" : "sliding";
    const index = this.plan.caches[cache]?.layers ?? 0;
    this.plan.caches[cache] = {
      layers: index + 1,
      kv_heads: config.num_kv_heads,
      head_dim: config.head_dim,
      window: seen,
    };
    const scale = (config.query_scale ?? config.head_dim ** -0.5) * config.rope_attention_factor ** 2;
    this.append(
      { kind: "attention", out, q, k, v, cache, layer: index, heads: config.num_heads, scale },
      config.num_heads * config.head_dim,
    );
  }

  gated(out: string, gate: string, up: string): void {
    this.append({ kind: "gated", out, gate, up, activation: this.config.activation }, this.plan.slots[gate]);
  }

  add(out: string, x: string, y: string): void {
    this.append({ kind: "add", out, x, y }, this.plan.slots[x]);
  }

  scale(out: string, x: string, factor: number): void {
    this.append({ kind: "scale", out, x, factor }, this.plan.slots[x]);
  }

  /** The whole plan: where the head multiplies rotated activations, the hidden rows are rotated last. */
  finish(): Plan {
    if (this.isRotated(this.plan.head.weight)) this.hadamard(this.plan.output, this.plan.output, "forward");
    return this.plan;
  }

  private hadamard(out: string, x: string, direction: "forward" | "inverse"): void {
    const rotation = this.config.hadamard;
    if (!rotation) return;
    const width = this.plan.slots[x];
    const listed = rotation.signs.get(width);
    if (listed) this.plan.signs[`signs_${width}`] = [...listed];
    const signs = listed ? `signs_${width}` : null;
    this.append({ kind: "hadamard", out, x, block: rotation.block_size, direction, signs }, width);
  }

  private isRotated(weight: string): boolean {
    return this.config.hadamard?.weights.has(weight) ?? false;
  }

  private activations(weight: string): { activations: Activations; group_size: number } {
    return { activations: (this.tensors.get(weight) as Described).encoding.activations, group_size: 0 };
  }

  private append(operation: Operation, width: number): void {
    this.plan.slots[operation.out] ??= width;
    this.plan.operations.push(operation);
  }
}

/** A GGUF file as a model: its configuration, its tensors checked against it, and its plan. */

import { FormatError, UnsupportedError } from "../errors.ts";
import type { GGUF, TensorInfo } from "../files/gguf.ts";
import { type Architecture, inputNormShapes, layerShapes } from "./architecture.ts";
import { BITNET, BITNET_B158 } from "./architectures/bitnet.ts";
import { GEMMA3 } from "./architectures/gemma3.ts";
import { LLAMA } from "./architectures/llama.ts";
import { QWEN2, QWEN3 } from "./architectures/qwen.ts";
import { type Described, PlanBuilder } from "./builder.ts";
import { type Config, configFault } from "./config.ts";
import { readHadamard } from "./hadamard.ts";
import { Keys } from "./keys.ts";
import type { Activation, Plan } from "./plan.ts";
import { readScaling } from "./rope_scaling.ts";

const ARCHITECTURES: readonly Architecture[] = [BITNET_B158, BITNET, GEMMA3, LLAMA, QWEN2, QWEN3];

/** Keys that change the mathematics, with the values at which they have no effect. */
const NEUTRAL: Record<string, readonly (number | boolean)[]> = {
  "rope.scaling.yarn_ext_factor": [1],
  "rope.scaling.yarn_log_multiplier": [0],
  "attention.causal": [true],
  "attention.scale": [0],
  "attention.clamp_kqv": [0],
  "attention.max_alibi_bias": [0],
  attn_logit_softcapping: [0],
  final_logit_softcapping: [0],
  logit_scale: [0, 1],
  residual_scale: [0, 1],
  embedding_scale: [0, 1],
  expert_count: [0],
  use_parallel_residual: [false],
};

export const ROPE_FACTORS = "rope_freqs.weight";
const EMBEDDING = "token_embd.weight";
const HEAD = "output.weight";

function architectureOf(name: unknown): Architecture {
  const found = ARCHITECTURES.find((one) => typeof name === "string" && Object.hasOwn(one.gguf, name));
  if (found) return found;
  const known = ARCHITECTURES.flatMap((one) => Object.keys(one.gguf)).join(", ");
  throw new UnsupportedError(`The file's architecture is '${name}', and the browser's engine knows ${known}.`);
}

/** The configuration of a file. `factors`: the numbers of `rope_freqs.weight`, null where it has no such tensor. */
export function readConfig(
  metadata: GGUF["metadata"],
  tensors: ReadonlyMap<string, Described>,
  factors: readonly number[] | null,
): Config {
  const name = metadata.get("general.architecture");
  const architecture = architectureOf(name);
  const variant = architecture.gguf[name as string];
  const keys = new Keys(metadata, name as string);
  for (const [key, accepted] of Object.entries(NEUTRAL)) {
    const value = keys.get(key);
    if (value !== undefined && !accepted.includes(value as number))
      throw new UnsupportedError(`This engine does not do what ${name}.${key} = ${value} asks for.`);
  }
  const embedding = tensors.get(EMBEDDING);
  if (!embedding) throw new FormatError(`The file has no tensor ${EMBEDDING} (a vocabulary without a model?).`);
  const vocab_size = embedding.shape[0];
  if (keys.integer("vocab_size", vocab_size) !== vocab_size)
    throw new FormatError(`The file's vocabulary size is not that of its embedding, ${vocab_size}.`);
  const hidden_size = keys.integer("embedding_length");
  const num_heads = keys.integer("attention.head_count");
  const head_dim = keys.integer("attention.key_length", Math.floor(hidden_size / Math.max(num_heads, 1)));
  for (const key of ["rope.dimension_count", "attention.value_length"])
    if (keys.integer(key, head_dim) !== head_dim)
      throw new UnsupportedError(`The file's ${key} is ${keys.integer(key)}, and must be the head size, ${head_dim}.`);
  const context_length = keys.integer("context_length");
  const num_layers = keys.integer("block_count");
  const sliding_window = keys.integer("attention.sliding_window", 0) || null;
  const rope_theta = keys.number("rope.freq_base", 10000);
  const activation = keys.get("hidden_activation") ?? variant.activation;
  if (!["relu2", "silu", variant.activation].includes(activation as Activation))
    throw new UnsupportedError(`The file's hidden_activation is '${activation}', which is not known.`);
  const config: Config = {
    architecture: architecture.name,
    vocab_size,
    hidden_size,
    intermediate_size: keys.integer("feed_forward_length"),
    num_layers,
    num_heads,
    num_kv_heads: keys.integer("attention.head_count_kv", num_heads),
    head_dim,
    context_length,
    rms_norm_eps: keys.number("attention.layer_norm_rms_epsilon"),
    rope_theta,
    rope_style: variant.rope_style ?? "half",
    activation: activation as Activation,
    tied_head: variant.tied_head || !tensors.has(HEAD),
    input_norm_eps: null,
    embedding_scale: 1,
    ...readScaling(keys, factors, rope_theta, head_dim, context_length),
    query_scale: null,
    sliding_window,
    sliding_layers: sliding_window ? Array.from({ length: Math.min(num_layers, 1024) }, (_, index) => index) : [],
    local_rope_theta: null,
    hadamard: readHadamard(metadata, tensors),
  };
  const whole = { ...config, ...architecture.read?.(keys, config) };
  const fault = configFault(whole);
  if (fault) throw new FormatError(fault);
  if (architecture.norms.includes("attn_sub_norm") && num_heads * head_dim !== hidden_size)
    throw new FormatError(`${architecture.name} needs heads x head size = ${hidden_size}, the hidden size.`);
  return whole;
}

/** Which tensors a model uses: scales that are tensors of their own are left to the matrices they belong to. */
export function usedTensors(file: GGUF, config: Config): Map<string, TensorInfo> {
  const used = new Map(file.tensors);
  used.delete(ROPE_FACTORS);
  if (config.tied_head) used.delete(HEAD);
  for (const name of [...used.keys()]) if (scaledMatrix(name)) used.delete(name);
  return used;
}

/** The matrix whose scale a tensor is (`blk.0.attn_q.scale` of older `bitnet` files); undefined for other tensors. */
export function scaledMatrix(name: string): string | undefined {
  return name.endsWith(".scale") ? name.replace(/scale$/, "weight") : undefined;
}

/** Raises for a tensor that is missing, has the wrong shape or is unknown: an unknown one changes the mathematics. */
export function checkTensors(config: Config, tensors: ReadonlyMap<string, Described>): void {
  const architecture = architectureOf(config.architecture);
  const embedding = [config.vocab_size, config.hidden_size];
  const needed = new Map<string, readonly number[]>([
    [EMBEDDING, embedding],
    ["output_norm.weight", [config.hidden_size]],
  ]);
  if (!config.tied_head) needed.set(HEAD, embedding);
  const known = new Map(needed);
  for (let layer = 0; layer < config.num_layers; layer++) {
    for (const [name, shape] of layerShapes(architecture, config)) needed.set(`blk.${layer}.${name}`, shape);
    for (const [name, shape] of inputNormShapes(architecture, config)) known.set(`blk.${layer}.${name}`, shape);
  }
  for (const [name, shape] of needed) {
    if (!tensors.has(name))
      throw new FormatError(`The model has no tensor '${name}', which ${config.architecture} needs.`);
    known.set(name, shape);
  }
  for (const [name, { shape, encoding }] of tensors) {
    const wanted = known.get(name);
    if (!wanted) throw new UnsupportedError(`The model has a tensor '${name}', unknown for ${config.architecture}.`);
    if (shape.length !== wanted.length || shape.some((size, i) => size !== wanted[i]))
      throw new FormatError(`The tensor '${name}' has the shape [${shape}] instead of [${wanted}].`);
    if (wanted.length === 1 && encoding.block !== 1)
      throw new UnsupportedError(`The norm or bias '${name}' is stored as ${encoding.name}, and must be floats.`);
  }
}

/** The plan of a model. */
export function buildPlan(config: Config, tensors: ReadonlyMap<string, Described>): Plan {
  const builder = new PlanBuilder(config, tensors);
  architectureOf(config.architecture).plan(builder);
  return builder.finish();
}

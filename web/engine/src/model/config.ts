import type { Activation, RopeStyle } from "./plan.ts";

/** Which matrices multiply rotated activations (`model/hadamard.py`). */
export interface HadamardConfig {
  block_size: number;
  weights: ReadonlySet<string>;
  inverse: ReadonlySet<string>;
  /** 1 or -1 for each column, by width. */
  signs: ReadonlyMap<number, readonly number[]>;
}

/** Shape and constants of one decoder; fields and names of `model/config.py`. */
export interface Config {
  architecture: string;
  vocab_size: number;
  hidden_size: number;
  intermediate_size: number;
  num_layers: number;
  num_heads: number;
  num_kv_heads: number;
  head_dim: number;
  context_length: number;
  rms_norm_eps: number;
  rope_theta: number;
  rope_style: RopeStyle;
  activation: Activation;
  tied_head: boolean;
  input_norm_eps: number | null;
  embedding_scale: number;
  rope_divisors: readonly number[] | null;
  rope_attention_factor: number;
  query_scale: number | null;
  sliding_window: number | null;
  sliding_layers: readonly number[];
  local_rope_theta: number | null;
  hadamard: HadamardConfig | null;
}

/** How many positions a token sees in a layer; null: all. */
export function window(config: Config, layer: number): number | null {
  return config.sliding_layers.includes(layer) ? config.sliding_window : null;
}

export function hasLocalRope(config: Config, layer: number): boolean {
  return config.local_rope_theta !== null && config.sliding_layers.includes(layer);
}

/** Radians a position for each rotated pair of a head in a layer. */
export function ropeFrequencies(config: Config, layer: number): number[] {
  if (hasLocalRope(config, layer)) return baseFrequencies(config.local_rope_theta as number, config.head_dim);
  const frequencies = baseFrequencies(config.rope_theta, config.head_dim);
  const { rope_divisors: divisors } = config;
  return divisors ? frequencies.map((frequency, i) => frequency / divisors[i]) : frequencies;
}

/** `theta ** (-2 i / head_dim)` for each pair i of a head (RoFormer, arXiv 2104.09864, section 3.2.2). */
export function baseFrequencies(theta: number, headDim: number): number[] {
  return Array.from({ length: headDim / 2 }, (_, i) => theta ** ((-2 * i) / headDim));
}

const LIMITS: [keyof Config, number, number][] = [
  ["vocab_size", 1, 1 << 22],
  ["hidden_size", 2, 1 << 20],
  ["intermediate_size", 1, 1 << 20],
  ["num_layers", 1, 1 << 10],
  ["num_heads", 1, 1 << 12],
  ["num_kv_heads", 1, 1 << 12],
  ["head_dim", 2, 1 << 12],
  ["context_length", 1, 1 << 24],
  ["sliding_window", 1, 1 << 24],
  ["rms_norm_eps", 1e-30, 1],
  ["rope_theta", 1, 1e12],
  ["local_rope_theta", 1, 1e12],
  ["rope_attention_factor", 1e-6, 1e6],
  ["embedding_scale", 1e-6, 1e6],
  ["query_scale", 1e-6, 1e6],
];

/** The sentence that says what is wrong with a configuration's numbers; undefined where nothing is. */
export function configFault(config: Config): string | undefined {
  for (const [name, least, most] of LIMITS) {
    const value = config[name];
    if (value !== null && !(typeof value === "number" && value >= least && value <= most))
      return `The model's ${name} is ${value}, which is out of bounds.`;
  }
  if (config.num_heads % config.num_kv_heads)
    return `${config.num_heads} heads cannot share ${config.num_kv_heads} key and value heads evenly.`;
  if (config.head_dim % 2) return `The head size ${config.head_dim} is odd, so RoPE cannot pair its dimensions.`;
  const divisors = config.rope_divisors;
  if (
    divisors &&
    !(divisors.length === config.head_dim / 2 && divisors.every((value) => value >= 1e-6 && value <= 1e6))
  )
    return `The model's RoPE factors are not ${config.head_dim / 2} numbers within bounds.`;
  return undefined;
}

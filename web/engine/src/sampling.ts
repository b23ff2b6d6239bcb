import { ArgumentError } from "./errors.ts";
import type { Sampling } from "./gpu/executor.ts";

/** How a text is chosen; the names are those of `SamplingParams` in camel case. */
export interface SamplingOptions {
  /** 0 takes the most likely token. */
  temperature?: number;
  /** Only the K most likely; 0 is off. */
  topK?: number;
  /** Only the most likely that make up P; 1 is off. */
  topP?: number;
  /** Only those with P of the best one's chance; 0 is off. */
  minP?: number;
  repetitionPenalty?: number;
  presencePenalty?: number;
  frequencyPenalty?: number;
  /** Added to the logits of these ids; ids that the model does not have change nothing. */
  logitBias?: Readonly<Record<number, number>> | ReadonlyMap<number, number>;
  /** The same seed gives the same text; default: a random one. */
  seed?: number | bigint;
}

export const GREEDY: Sampling = {
  temperature: 0,
  topK: 0,
  topP: 1,
  minP: 0,
  repetitionPenalty: 1,
  presencePenalty: 0,
  frequencyPenalty: 0,
  logitBias: new Map(),
  seed: 0n,
};

const LIMITS: Record<string, [number, number]> = {
  temperature: [0, 100],
  topK: [0, 2 ** 31 - 1],
  topP: [1e-6, 1],
  minP: [0, 1],
  repetitionPenalty: [1e-3, 1e3],
  presencePenalty: [-1e3, 1e3],
  frequencyPenalty: [-1e3, 1e3],
};

/** Beyond every logit, and a float32 with any logit added. */
const MOST_BIAS = 1e38;

/** Options with their defaults; raises ArgumentError for a value that cannot work. */
export function samplingOf(options: SamplingOptions): Sampling {
  const logitBias = biasOf(options.logitBias ?? {});
  const seed = options.seed ?? randomSeed();
  if (typeof seed !== "bigint" && !Number.isInteger(seed))
    throw new ArgumentError(`seed is a whole number, not ${seed}.`);
  const sampling: Sampling = { ...GREEDY, ...options, logitBias, seed: BigInt(seed) };
  for (const [name, [least, most]] of Object.entries(LIMITS)) {
    const value = sampling[name as keyof Sampling];
    if (!(typeof value === "number" && value >= least && value <= most))
      throw new ArgumentError(`${name} is a number from ${least} to ${most}, not ${value}.`);
  }
  return sampling;
}

function biasOf(given: NonNullable<SamplingOptions["logitBias"]>): Map<number, number> {
  const entries = given instanceof Map ? [...given] : Object.entries(given);
  const bias = new Map<number, number>(entries.map(([id, value]) => [Number(id), value]));
  for (const [id, value] of bias)
    if (!(Number.isInteger(id) && id >= 0 && Number.isFinite(value)))
      throw new ArgumentError(`logitBias gives numbers for token ids, not ${value} for ${id}.`);
    else bias.set(id, Math.min(Math.max(value, -MOST_BIAS), MOST_BIAS));
  return bias;
}

function randomSeed(): bigint {
  const [low, high] = crypto.getRandomValues(new Uint32Array(2));
  return (BigInt(high) << 32n) | BigInt(low);
}

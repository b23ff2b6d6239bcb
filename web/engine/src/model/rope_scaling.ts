/** Context scaling of rotary embedding as GGUF files describe it (`checkpoint/gguf/rope.py`, `model/rope.py`). */

import { FormatError, UnsupportedError } from "../errors.ts";
import type { Keys } from "./keys.ts";

export interface Scaling {
  rope_divisors: number[] | null;
  rope_attention_factor: number;
}

/** `factors`: the numbers of the tensor `rope_freqs.weight`, null where the file has none. */
export function readScaling(
  keys: Keys,
  factors: readonly number[] | null,
  theta: number,
  headDim: number,
  contextLength: number,
): Scaling {
  const kind = keys.get("rope.scaling.type") ?? "linear";
  const factor = keys.number("rope.scaling.factor", keys.number("rope.scale_linear", 0)) || 1;
  let attention = keys.number("rope.scaling.attn_factor", 1);
  if (kind !== "none" && kind !== "linear" && kind !== "yarn")
    throw new UnsupportedError(`The file's rope.scaling.type is '${kind}'; none, linear and yarn are known.`);
  if (!factors && (kind === "none" || (kind === "linear" && factor === 1)))
    return { rope_divisors: null, rope_attention_factor: attention };
  if (!(factor > 0 && factor < Infinity && theta > 1 && theta < Infinity && headDim > 0 && headDim <= 4096))
    throw new FormatError("The file's rope.scaling.factor, rope.freq_base or head size is out of bounds.");
  let divisors: number[] = new Array(headDim / 2).fill(kind === "linear" ? factor : 1);
  if (kind === "yarn") {
    const original = keys.number("rope.scaling.original_context_length", contextLength);
    const fast = keys.number("rope.scaling.yarn_beta_fast", 32);
    const slow = keys.number("rope.scaling.yarn_beta_slow", 1);
    if (![original, fast, slow].every((value) => value > 0 && value < Infinity))
      throw new FormatError("The file's rope.scaling keys for yarn are out of bounds.");
    divisors = yarnDivisors(theta, headDim, factor, original, fast, slow);
    attention *= keys.number("rope.scaling.yarn_attn_factor", 1) * (factor > 1 ? 0.1 * Math.log(factor) + 1 : 1);
  }
  if (factors) {
    if (factors.length !== headDim / 2)
      throw new FormatError(`The tensor rope_freqs.weight is no list of ${headDim / 2} floats.`);
    divisors = divisors.map((value, i) => value * factors[i]);
  }
  return { rope_divisors: divisors, rope_attention_factor: attention };
}

/** YaRN's "NTK-by-parts" (arXiv 2309.00071, section 3.2): a ramp over pairs from kept to slowed down by `factor`. */
function yarnDivisors(theta: number, headDim: number, factor: number, original: number, fast: number, slow: number) {
  const pairOf = (turns: number) =>
    (headDim * (Math.log(original) - Math.log(turns) - Math.log(2 * Math.PI))) / (2 * Math.log(theta));
  const low = Math.max(Math.floor(pairOf(fast)), 0);
  const high = Math.min(Math.ceil(pairOf(slow)), headDim - 1);
  const width = high !== low ? high - low : 0.001;
  return Array.from({ length: headDim / 2 }, (_, i) => {
    const share = Math.min(Math.max((i - low) / width, 0), 1);
    return 1 / (1 - share + share / factor);
  });
}

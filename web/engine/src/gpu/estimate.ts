import type { Described } from "../model/builder.ts";
import type { Plan } from "../model/plan.ts";
import { headWords, type KvType } from "./kv.ts";
import { layoutOf, scalesOfRow, wordsOfRow } from "./repack.ts";

/** Bytes that a model needs. */
export interface MemoryEstimate {
  /** The file, which is downloaded where the browser has not kept it. */
  file: number;
  /** On the GPU: matrices and norms. */
  weights: number;
  /** On the GPU: keys and values, once the context is full. */
  context: number;
  /** On the GPU: what a pass computes. */
  rows: number;
}

/** What a plan needs for `context` positions, in passes of `tokens`. */
export function estimate(
  plan: Plan,
  tensors: ReadonlyMap<string, Described>,
  file: number,
  kv: KvType,
  context: number,
  tokens: number,
): MemoryEstimate {
  const words = (numbers: Iterable<number>) => 4 * Array.from(numbers).reduce((a, b) => a + b, 0);
  const weights = Array.from(tensors.values(), ({ encoding, shape }) => {
    if (shape.length === 1) return shape[0];
    const layout = layoutOf(encoding, shape[1]);
    return shape[0] * (wordsOfRow(layout) + scalesOfRow(layout));
  });
  const positions = Object.values(plan.caches).map((group) => 2 * group.layers * group.kv_heads * headWords(group, kv));
  const turns = Object.values(plan.frequencies).map((frequencies) => 2 * frequencies.length);
  return {
    file,
    weights: words(weights),
    context: context * words([...positions, ...turns]),
    rows: tokens * words(Object.values(plan.slots)),
  };
}

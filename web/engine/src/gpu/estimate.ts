import type { Described } from "../model/builder.ts";
import type { Plan } from "../model/plan.ts";
import { headWords, type KvType, ringOf } from "./kv.ts";
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
  /** Bytes of weights that are read for a token: all but the embedding's, unless it is the head, too. */
  token: number;
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
  const embedding = plan.operations.find((operation) => operation.kind === "embed")?.weight;
  const words = (numbers: Iterable<number>) => 4 * Array.from(numbers).reduce((a, b) => a + b, 0);
  const weights = new Map(Array.from(tensors, ([name, tensor]) => [name, wordsOf(tensor)]));
  const unread = embedding === undefined || embedding === plan.head.weight ? 0 : (weights.get(embedding) ?? 0);
  const caches = Object.values(plan.caches).map((group) => {
    const positions = Math.min(context, ringOf(group, tokens) ?? context);
    return positions * 2 * group.layers * group.kv_heads * headWords(group, kv);
  });
  const turns = Object.values(plan.frequencies).map((frequencies) => context * 2 * frequencies.length);
  return {
    file,
    weights: words(weights.values()),
    context: words([...caches, ...turns]),
    rows: tokens * words(Object.values(plan.slots)),
    token: words(weights.values()) - words([unread]),
  };
}

function wordsOf({ encoding, shape }: Described): number {
  if (shape.length === 1) return shape[0];
  const layout = layoutOf(encoding, shape[1]);
  return shape[0] * (wordsOfRow(layout) + scalesOfRow(layout));
}

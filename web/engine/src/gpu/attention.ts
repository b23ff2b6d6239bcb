import { UnsupportedError } from "../errors.ts";
import type { Attention, CacheGroup, Norm, Rope } from "../model/plan.ts";
import type { Constants } from "./kernels.ts";
import { type KvCache, SPLIT } from "./kv.ts";
import { BLOCK } from "./pages.ts";
import type { Parted } from "./rows.ts";
import type { Slots } from "./slots.ts";
import type { Step } from "./step.ts";

/** The norms of an attention's q and k, if it has any, by the names of the kernel's weights. */
export type HeadNorms = Partial<Record<"q_weight" | "k_weight", GPUBuffer>>;

/** The dispatches of an attention. */
export interface AttentionSteps {
  /** q, k and v of each head are normed and rotated, and k and v go to the cache. */
  heads: Step;
  /** Heads attend: for several tokens one workgroup each, for one token several, which leave `parted`. */
  many: Step;
  one: Step;
  parted: Parted;
}

/** `before`: the norms and rotations of an attention's q and k. Raises UnsupportedError for others than one rotation
 * each, the same of both, and before them one norm each, or none. */
export function attentionSteps(
  state: GPUBuffer,
  attention: Attention,
  before: readonly (Norm | Rope)[],
  weights: HeadNorms,
  group: CacheGroup,
  slots: Slots,
  kv: KvCache,
): AttentionSteps {
  const [q, k, v] = [attention.q, attention.k, attention.v].map((name) => slots.view(name));
  const ropes = before.filter((one) => one.kind === "rope");
  const norms = before.filter((one) => one.kind === "norm");
  const heads = new Map([
    [attention.q, attention.heads],
    [attention.k, group.kv_heads],
  ]);
  const areBoth = (pair: readonly (Norm | Rope)[]) =>
    pair.length === 2 && pair[0].out !== pair[1].out && pair.every((one) => one.heads === heads.get(one.out));
  const [rope, other] = ropes;
  const isComputed =
    [...norms, ...ropes].every((one, index) => one === before[index]) &&
    areBoth(ropes) &&
    (norms.length === 0 || areBoth(norms)) &&
    rope.style === other.style &&
    rope.frequencies === other.frequencies &&
    norms[0]?.eps === norms[1]?.eps;
  if (!isComputed || q.buffer !== k.buffer || q.buffer !== v.buffer)
    throw new UnsupportedError("The attention of this plan is none that the browser's engine computes.");
  const out = slots.view(attention.out);
  const ring = kv.ring(group);
  const shape: Constants = {
    HEADS: attention.heads,
    KV_HEADS: group.kv_heads,
    HEAD_DIM: group.head_dim,
    KV_WORDS: kv.words(attention.cache),
    INT8_KV: kv.type === "int8",
    BLOCK,
    ...(ring ? { RING: true, POSITIONS: ring } : {}),
  };
  const cached = () => ({
    state,
    table: kv.table,
    keys: kv.buffer(attention.cache, attention.layer, "keys"),
    values: kv.buffer(attention.cache, attention.layer, "values"),
  });
  const runs = { HEADS: attention.heads, HEAD_DIM: group.head_dim, WINDOW: group.window ?? 0, SPLIT };
  const constants = { ...shape, ...runs, Q_STRIDE: q.stride, Q_AT: q.at, SCALE: attention.scale };
  return {
    heads: {
      kernel: "heads",
      constants: {
        ...shape,
        STRIDE: q.stride,
        Q_AT: q.at,
        K_AT: k.at,
        V_AT: v.at,
        INTERLEAVED: rope.style === "interleaved",
        ...(norms.length && { NORM: true, EPS: norms[0].eps }),
      },
      buffers: () => ({ ...cached(), ...weights, qkv: q.buffer, turns: kv.turns(rope.frequencies) }),
      groups: (n) => [attention.heads + 2 * group.kv_heads, n],
    },
    many: {
      kernel: "attention",
      constants: { ...constants, OUT_STRIDE: out.stride, OUT_AT: out.at },
      buffers: () => ({ ...cached(), q: q.buffer, out: out.buffer }),
      groups: (n) => [attention.heads, n],
    },
    one: {
      kernel: "attention",
      constants: { ...constants, PARTED: true },
      buffers: () => ({ ...cached(), q: q.buffer, out: kv.parts }),
      groups: () => [attention.heads, kv.splits],
    },
    parted: { state, buffer: () => kv.parts, constants: runs },
  };
}

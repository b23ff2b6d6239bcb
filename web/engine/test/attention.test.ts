/** Attention over more positions than a workgroup sums, by one workgroup a head and by several. */

import { afterAll, describe, expect, test } from "vitest";
import { attentionSteps } from "../src/gpu/attention.ts";
import { Gpu } from "../src/gpu/device.ts";
import { KvCache } from "../src/gpu/kv.ts";
import { half } from "../src/gpu/repack.ts";
import { rowStep } from "../src/gpu/rows.ts";
import { Slots } from "../src/gpu/slots.ts";
import type { Attention, Plan, Rope } from "../src/model/plan.ts";
import { attend } from "./attend.ts";
import { dawn } from "./dawn.ts";
import { dispatch, readBytes, readFloats, upload } from "./gpu.ts";

const api = await dawn();
const gpu = api && (await Gpu.open({ gpu: api }));
afterAll(() => gpu?.device.destroy());

const [HEADS, KV_HEADS, HEAD_DIM, POSITIONS] = [4, 2, 32, 600];

/** Whole numbers of 1/64 up to 1, from a counter. */
function drawn(count: number, seed: number): Float32Array {
  return Float32Array.from({ length: count }, (_, i) => ((Math.imul(i + seed, 2654435761) >>> 20) % 129) / 64 - 1);
}

const BITS = new Map(Array.from({ length: 1 << 16 }, (_, word) => [half(word), word]));

function halves(values: Float32Array): Uint16Array {
  return Uint16Array.from(values, (value) => BITS.get(value) as number);
}

describe.skipIf(!gpu)("attention over several runs of positions", () => {
  test.each([null, 300])("is the same however it is shared, window %s", async (window) => {
    const device = gpu as Gpu;
    const rope = (slot: string, heads: number): Rope => ({
      kind: "rope",
      out: slot,
      x: slot,
      heads,
      style: "half",
      frequencies: "rope",
    });
    const ropes = [rope("q", HEADS), rope("k", KV_HEADS)];
    const names = { out: "out", q: "q", k: "k", v: "v", cache: "full" };
    const attention: Attention = { kind: "attention", ...names, layer: 0, heads: HEADS, scale: 0.3 };
    const group = { layers: 1, kv_heads: KV_HEADS, head_dim: HEAD_DIM, window };
    const plan = {
      slots: { q: HEADS * HEAD_DIM, k: KV_HEADS * HEAD_DIM, v: KV_HEADS * HEAD_DIM, out: HEADS * HEAD_DIM },
      caches: { full: group },
      frequencies: { rope: new Array(HEAD_DIM / 2).fill(0) },
      operations: [...ropes, attention],
    } as unknown as Plan;
    const slots = new Slots(device, plan, 1);
    const kv = new KvCache(device, plan, "f16", 64);
    // Another text has the first blocks, so that those of this one lie elsewhere.
    kv.begin([]);
    await kv.reserve(100, POSITIONS + 128);
    kv.ids.push(...new Array(100).fill(7));
    kv.begin([8, 8]);
    await kv.reserve(POSITIONS, POSITIONS + 128);
    const [keys, values] = [1, 2].map((seed) => drawn(POSITIONS * KV_HEADS * HEAD_DIM, seed));
    const { queue } = device.device;
    const table = new Uint32Array(await readBytes(device, kv.table));
    const ring = kv.ring(group);
    const row = KV_HEADS * HEAD_DIM;
    for (const [what, all] of [
      ["keys", keys],
      ["values", values],
    ] as const)
      for (let p = 0; p < POSITIONS; p++) {
        const place = ring ? p % ring : table[p >> 6] * 64 + (p & 63);
        const own = halves(all.subarray(p * row, (p + 1) * row)) as Uint16Array<ArrayBuffer>;
        queue.writeBuffer(kv.buffer("full", 0, what), place * row * 2, own);
      }
    const [q, out] = [slots.view("q"), slots.view("out")];
    const query = drawn(HEADS * HEAD_DIM, 3);
    queue.writeBuffer(q.buffer, q.at * 4, query as Float32Array<ArrayBuffer>);

    const state = upload(device, Uint32Array.of(1, POSITIONS - 1, 0, 0));
    const steps = attentionSteps(state, attention, ropes, {}, group, slots, kv);
    await dispatch(device, [steps.many], 1);
    const one = await readFloats(device, out.buffer, HEADS * HEAD_DIM);
    queue.writeBuffer(out.buffer, 0, new Float32Array(HEADS * HEAD_DIM));
    await dispatch(device, [steps.one, rowStep(out, out, 4, { parted: steps.parted })], 1);
    const several = await readFloats(device, out.buffer, HEADS * HEAD_DIM);
    expect(several).toEqual(one);
    expect(steps.one.groups(1)).toEqual([HEADS, 3]);
    const shape = { heads: HEADS, kvHeads: KV_HEADS, headDim: HEAD_DIM, scale: 0.3, window };
    const expected = attend(query, keys, values, 1, shape);
    expected.forEach((value, i) => {
      expect(Math.abs(value - one[i])).toBeLessThan(1e-5);
    });
  });
});

import { expect, test } from "vitest";
import { OutOfMemory } from "../src/errors.ts";
import type { Gpu } from "../src/gpu/device.ts";
import { KvCache } from "../src/gpu/kv.ts";
import { Pages } from "../src/gpu/pages.ts";
import type { Plan } from "../src/model/plan.ts";

/** A cache on a GPU that has room for some buffers more: keys, values, rotations, the table and the parts. */
function cache(window: number | null = null) {
  const state = { room: 5, destroyed: [] as unknown[] };
  const buffer = (size: number) => {
    if (state.room-- <= 0) throw new OutOfMemory("There is no room.");
    const made = { size, destroy: () => state.destroyed.push(made) };
    return made;
  };
  const encoder = { copyBufferToBuffer: () => {}, finish: () => {} };
  const device = { createCommandEncoder: () => encoder, queue: { submit: () => {}, writeBuffer: () => {} } };
  const gpu = { buffer, device, allocating: async (_: string, run: () => Promise<void>) => run() };
  const caches = { full: { layers: 1, kv_heads: 1, head_dim: 4, window } };
  const plan = { caches, frequencies: { rope: [1, 0.1] }, operations: [] } as unknown as Plan;
  return { state, kv: new KvCache(gpu as unknown as Gpu, plan, "f16", 64) };
}

function counted(length: number, first = 0): number[] {
  return Array.from({ length }, (_, i) => first + i);
}

test("a cache that cannot grow stays as it was", async () => {
  const { state, kv } = cache();
  expect(await kv.reserve(10, 1000)).toBe(true);
  const [keys, turns, capacity] = [kv.buffer("full", 0, "keys"), kv.turns("rope"), kv.capacity];
  state.room = 2;
  await expect(kv.reserve(capacity + 1, 1000)).rejects.toThrow(OutOfMemory);
  expect([kv.buffer("full", 0, "keys"), kv.turns("rope"), kv.capacity]).toEqual([keys, turns, capacity]);
  expect(state.destroyed).not.toContain(keys);
  expect(state.destroyed.length).toBe(2); // what was made of the larger one
  state.room = 5;
  expect(await kv.reserve(capacity + 1, 1000)).toBe(true);
  expect(state.destroyed).toContain(keys);
  expect(await kv.reserve(capacity + 2, 1000)).toBe(false);
});

test("where there is no memory for a text beside another, the other gives its blocks up", async () => {
  const { kv } = cache();
  const other = counted(100);
  kv.begin(other);
  await kv.reserve(100, 1000);
  kv.ids.push(...other);
  expect(kv.begin([-1, -2])).toBe(0);
  await kv.reserve(100, 1000);
  expect(kv.begin(other)).toBe(0);
});

test("a window keeps the last positions, and a text that needs others is computed anew", async () => {
  const { state, kv } = cache(100);
  state.room = 100;
  const ids = counted(400);
  expect(kv.begin(ids)).toBe(0);
  await kv.reserve(400, 1000);
  kv.ids.push(...ids);
  expect(kv.buffer("full", 0, "keys").size).toBe(192 * 8); // (100 + 64) positions in whole blocks
  expect(kv.begin([...ids, 7])).toBe(400);
  expect(kv.begin([...ids.slice(0, 390), 7])).toBe(390);
  expect(kv.begin([...ids.slice(0, 300), 7])).toBe(0);
});

test("texts that begin alike share whole blocks, and each is gone on with", () => {
  const pages = new Pages();
  pages.add(8);
  const start = counted(200);
  const write = (ids: number[]) => {
    const common = pages.begin(ids, false);
    pages.current.ids.push(...ids.slice(common));
    const enough = pages.extend(ids.length);
    return { common, enough, blocks: [...pages.current.blocks] };
  };
  const first = write(start);
  expect(first).toEqual({ common: 0, enough: true, blocks: [0, 1, 2, 3] });
  expect(write([...start, 1, 2])).toEqual({ common: 200, enough: true, blocks: first.blocks });
  const other = write([...start.slice(0, 130), -1]);
  expect(other).toEqual({ common: 128, enough: true, blocks: [0, 1, 4] });
  expect(write([...start, 1, 2, 3]).common).toBe(202);
  // Within a block that both have, neither may write.
  expect(write([...start.slice(0, 100), ...counted(50, 1000)])).toEqual({
    common: 64,
    enough: true,
    blocks: [0, 5, 6],
  });
  expect(write([...start.slice(0, 130), -1, -2]).common).toBe(131);
  // The text that was used least recently goes first, and of its blocks those that no other has are free.
  expect(write(counted(120, 5000)).enough).toBe(false);
  expect(pages.drop()).toBe(true);
  expect(pages.extend(120)).toBe(true);
  expect(write([...start, 1, 2, 3]).common).toBe(130); // of the text that goes on otherwise
});

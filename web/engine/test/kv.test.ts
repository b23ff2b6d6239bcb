import { expect, test } from "vitest";
import { OutOfMemory } from "../src/errors.ts";
import type { Gpu } from "../src/gpu/device.ts";
import { KvCache } from "../src/gpu/kv.ts";
import type { Plan } from "../src/model/plan.ts";

test("a cache that cannot grow stays as it was", async () => {
  let room = 4; // buffers: keys, values, the rotations and the parts of an attention
  const destroyed: unknown[] = [];
  const buffer = () => {
    if (room-- <= 0) throw new OutOfMemory("There is no room.");
    const made = { size: 0, destroy: () => destroyed.push(made) };
    return made;
  };
  const encoder = { copyBufferToBuffer: () => {}, finish: () => {} };
  const device = { createCommandEncoder: () => encoder, queue: { submit: () => {}, writeBuffer: () => {} } };
  const gpu = { buffer, device, allocating: async (_: string, run: () => Promise<void>) => run() };
  const caches = { full: { layers: 1, kv_heads: 1, head_dim: 4, window: null } };
  const kv = new KvCache(
    gpu as unknown as Gpu,
    { caches, frequencies: { rope: [1, 0.1] }, operations: [] } as unknown as Plan,
    "f16",
  );
  expect(await kv.grow(10, 1000)).toBe(true);
  const [keys, turns, capacity] = [kv.buffer("full", 0, "keys"), kv.turns("rope"), kv.capacity];
  room = 2;
  await expect(kv.grow(capacity + 1, 1000)).rejects.toThrow(OutOfMemory);
  expect([kv.buffer("full", 0, "keys"), kv.turns("rope"), kv.capacity]).toEqual([keys, turns, capacity]);
  expect(destroyed).not.toContain(keys);
  expect(destroyed.length).toBe(2); // what was made of the larger one
  room = 4;
  expect(await kv.grow(capacity + 1, 1000)).toBe(true);
  expect(destroyed).toContain(keys);
});

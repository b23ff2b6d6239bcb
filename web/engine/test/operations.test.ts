/** Every operation of the golden plans, fed the oracle's input slots. */

import { afterAll, describe, expect, test } from "vitest";
import { compile } from "../src/gpu/compile.ts";
import { Gpu } from "../src/gpu/device.ts";
import { KvCache } from "../src/gpu/kv.ts";
import { half } from "../src/gpu/repack.ts";
import type { Slots } from "../src/gpu/slots.ts";
import type { Tuning } from "../src/gpu/step.ts";
import { Loader } from "../src/gpu/weights.ts";
import { type Attention, type Operation, type Plan, reads } from "../src/model/plan.ts";
import { attend } from "./attend.ts";
import { dawn } from "./dawn.ts";
import { type Golden, golden } from "./golden.ts";
import { dispatch, readBytes } from "./gpu.ts";

const api = await dawn();
const gpu = api && (await Gpu.open({ gpu: api }));
afterAll(() => gpu?.device.destroy());

const ROWS: Tuning = { lanes: 1, subgroups: false, dot: "packed", rowThreads: 128 };
const WAYS: Record<string, Tuning> = {
  "a row a thread": ROWS,
  "a row for eight threads": { ...ROWS, lanes: 8 },
  "a row for a subgroup": { ...ROWS, lanes: 4, subgroups: true },
  "without byte products": { ...ROWS, dot: "shifts" },
  "products in float32": { ...ROWS, dot: "float" },
};

/** Operations that share a dispatch stay together: what comes before an attention, and what is added afterwards. */
function units(plan: Plan): { first: number; operations: Operation[] }[] {
  const found: { first: number; operations: Operation[] }[] = [];
  const { operations } = plan;
  for (let at = 0; at < operations.length; ) {
    let end = at;
    while (operations[end]?.kind === "norm" || operations[end]?.kind === "rope") end++;
    const attention = operations[end];
    const before = operations.slice(at, end);
    const prepares =
      attention?.kind === "attention" && before.every(({ out }) => out === attention.q || out === attention.k);
    end = prepares ? end + 1 : at + 1;
    while (operations[end]?.kind === "add" || operations[end]?.kind === "scale") end++;
    found.push({ first: at, operations: operations.slice(at, end) });
    at = end;
  }
  return found;
}

async function compiled(device: Gpu, { tensors, source }: Golden, plan: Plan, tuning: Tuning, tokens: number) {
  const frame = {
    state: device.buffer(16, "state"),
    tokens: device.buffer(tokens * 4, "tokens"),
    logits: device.buffer(plan.vocab_size * 4, "logits"),
  };
  const kv = new KvCache(device, plan, "f16", tokens);
  await kv.reserve(tokens, tokens);
  const loader = new Loader(device, source, tensors, new Map(), () => {});
  return { frame, kv, program: await compile(device, plan, tensors, loader, kv, frame, tuning, tokens) };
}

function write(device: Gpu, slots: Slots, name: string, rows: Float32Array): void {
  const { buffer, stride, at, width } = slots.view(name);
  for (let t = 0; t * width < rows.length; t++)
    device.device.queue.writeBuffer(buffer, (t * stride + at) * 4, rows.slice(t * width, (t + 1) * width));
}

async function read(device: Gpu, slots: Slots, name: string, n: number): Promise<Float32Array> {
  const { buffer, stride, at, width } = slots.view(name);
  const all = new Float32Array(await readBytes(device, buffer));
  const rows = new Float32Array(n * width);
  for (let t = 0; t < n; t++) rows.set(all.subarray(t * stride + at, t * stride + at + width), t * width);
  return rows;
}

function difference(got: Float32Array, expected: Float32Array): number {
  const largest = expected.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  return got.reduce((most, value, i) => Math.max(most, Math.abs(value - expected[i])), 0) / largest;
}

const TOLERANCE = 1e-5;
/** Half a unit in the last place of float16, relative, and what the numbers differ by before they are rounded. */
const HALF_TOLERANCE = 2 ** -11 + TOLERANCE;

/** Runs part of a plan on the oracle's slots, all tokens together and the first alone. */
async function check(model: Golden, unit: Operation[], first: number, tuning: Tuning): Promise<void> {
  const device = gpu as Gpu;
  const { plan, tokens, steps } = model;
  const out = unit[unit.length - 1].out;
  const { frame, kv, program } = await compiled(
    device,
    model,
    { ...plan, operations: unit, output: out },
    tuning,
    tokens.length,
  );
  const expected = steps[first + unit.length - 1];
  const { width } = program.slots.view(out);
  for (const [n, list] of [
    [tokens.length, program.prefill],
    [1, program.decode],
  ] as const) {
    for (const name of new Set(unit.flatMap(reads))) {
      const before = plan.operations.slice(0, first).findLastIndex((operation) => operation.out === name);
      if (before >= 0) write(device, program.slots, name, steps[before]);
    }
    device.device.queue.writeBuffer(frame.tokens, 0, Uint32Array.from(tokens));
    device.device.queue.writeBuffer(frame.state, 0, Uint32Array.of(n, 0, 0, 0));
    await dispatch(device, list, n);
    const got = await read(device, program.slots, out, n);
    const attention = unit.find((operation) => operation.kind === "attention");
    const right = attention
      ? await attended(device, model, attention, first + unit.indexOf(attention), kv, program.slots, n)
      : expected.subarray(0, n * width);
    expect(difference(got, right), JSON.stringify(unit)).toBeLessThan(TOLERANCE);
  }
}

/** What an attention gives for the queries, keys and values that the GPU has, which must be the oracle's: keys and
 * values are float16 here and float32 there. */
async function attended(
  device: Gpu,
  { plan, steps }: Golden,
  attention: Attention,
  at: number,
  kv: KvCache,
  slots: Slots,
  n: number,
): Promise<Float32Array> {
  const { kv_heads, head_dim, window } = plan.caches[attention.cache];
  const oracle = (slot: string) => {
    const last = plan.operations.slice(0, at).findLastIndex((operation) => operation.out === slot);
    return steps[last].subarray(0, n * plan.slots[slot]);
  };
  const q = await read(device, slots, attention.q, n);
  expect(difference(q, oracle(attention.q))).toBeLessThan(TOLERANCE);
  const cached = async (what: "keys" | "values") => {
    const words = await readBytes(device, kv.buffer(attention.cache, attention.layer, what));
    return Float32Array.from(new Uint16Array(words).subarray(0, n * kv_heads * head_dim), half);
  };
  const [keys, values] = [await cached("keys"), await cached("values")];
  expect(difference(keys, oracle(attention.k))).toBeLessThan(HALF_TOLERANCE);
  expect(difference(values, oracle(attention.v))).toBeLessThan(HALF_TOLERANCE);
  const shape = { heads: attention.heads, kvHeads: kv_heads, headDim: head_dim, scale: attention.scale, window };
  return attend(q, keys, values, n, shape);
}

describe.skipIf(!gpu)("operations are the oracle's", () => {
  test.each(["bitnet", "llama", "mistral", "qwen2", "qwen3", "gemma3", "rotated"])("of %s", async (name) => {
    const model = golden(name);
    for (const { first, operations } of units(model.plan)) await check(model, operations, first, ROWS);
  });

  const products = golden("products");
  const matrices = [...products.plan.operations.entries()].filter(([, operation]) => {
    if (operation.kind !== "linear" || operation.group_size) return false;
    const encoding = products.tensors.get(operation.weight)?.encoding;
    return encoding && (operation.activations === "none") === (encoding.activations === "none");
  });

  test("matrices in every encoding", async () => {
    for (const [first, operation] of matrices) await check(products, [operation], first, ROWS);
    expect(matrices.length).toBeGreaterThanOrEqual(14);
  });

  test.each(Object.entries(WAYS).slice(1))("matrices of every kind, %s", async (_, tuning) => {
    for (const [first, operation] of matrices)
      if (operation.kind === "linear" && ["i2_s", "q2_0", "q8_0", "f16"].includes(operation.weight))
        await check(products, [operation], first, tuning);
  });
});

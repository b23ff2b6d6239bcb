/** The choice of a token, against the CPU's of the same logits (tests/web/sampling.py). */

import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { ArgumentError } from "../src/errors.ts";
import { Gpu } from "../src/gpu/device.ts";
import { Executor } from "../src/gpu/executor.ts";
import { KvCache } from "../src/gpu/kv.ts";
import { Slots } from "../src/gpu/slots.ts";
import type { Plan } from "../src/model/plan.ts";
import { type SamplingOptions, samplingOf } from "../src/sampling.ts";
import { dawn } from "./dawn.ts";
import { json } from "./files.ts";

interface Fixture {
  /** Multiples of 1/8, so that many are equal. */
  eighths: number[];
  prompt: number[];
  /** What the CPU writes where the logits are the same at every step. */
  cases: { options: SamplingOptions; ids: number[] }[];
}

const api = await dawn();
const gpu = api && (await Gpu.open({ gpu: api }));
afterAll(() => gpu?.device.destroy());

const { eighths, prompt, cases } = json<Fixture>("web/engine/test/fixtures/sampling.json");
const logits = Float32Array.from(eighths, (value) => value / 8);

/** Chooses tokens from the same logits at every step. */
async function chooser(device: Gpu): Promise<(options: SamplingOptions, count: number) => Promise<number[]>> {
  const plan = { slots: {}, operations: [], caches: {}, frequencies: {} } as unknown as Plan;
  const frame = {
    state: device.buffer(16, "state"),
    tokens: device.buffer(4, "tokens"),
    logits: device.buffer(logits.byteLength, "logits"),
  };
  const program = { prefill: [], decode: [], head: [], slots: new Slots(device, plan, 1) };
  const kv = new KvCache(device, plan, "f16", 1);
  const executor = await Executor.make(device, program, kv, frame, logits.length, 1, 1);
  await executor.reserve(1);
  return async (options, count) => {
    executor.setSampling(samplingOf(options), prompt);
    const got: number[] = [];
    while (got.length < count) {
      device.device.queue.writeBuffer(frame.logits, 0, logits);
      got.push(...(await executor.sample(1, 0, 1, got.length, true)));
    }
    return got;
  };
}

describe.skipIf(!gpu)("tokens", () => {
  let choose: Awaited<ReturnType<typeof chooser>>;
  beforeAll(async () => {
    choose = await chooser(gpu as Gpu);
  });

  test.each(cases)("with $options are the CPU's", async ({ options, ids }) => {
    expect(await choose(options, ids.length)).toEqual(ids);
  });
});

test.each([
  [{ seed: 1.5 }, "seed is a whole number, not 1.5."],
  [{ temperature: -1 }, "temperature is a number from 0 to 100, not -1."],
  [{ logitBias: { a: 1 } }, "logitBias gives numbers for token ids, not 1 for NaN."],
  [{ logitBias: { 3: Number.NaN } }, "logitBias gives numbers for token ids, not NaN for 3."],
])("%j is refused", (options, message) => {
  expect(() => samplingOf(options)).toThrow(new ArgumentError(message));
});

test("a bias beyond float32 becomes one that decides", () => {
  expect([...samplingOf({ logitBias: { 7: 1e300, 8: -1e300, 9: 2 } }).logitBias]).toEqual([
    [7, 1e38],
    [8, -1e38],
    [9, 2],
  ]);
});

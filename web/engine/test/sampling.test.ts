/** The choice of a token, against the CPU's of the same logits (tests/web/sampling.py). */

import { afterAll, describe, expect, test } from "vitest";
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

describe.skipIf(!gpu)("tokens", async () => {
  const { eighths, prompt, cases } = json<Fixture>("web/engine/test/fixtures/sampling.json");
  const logits = Float32Array.from(eighths, (value) => value / 8);
  const device = gpu as Gpu;
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

  test.each(cases)("with $options are the CPU's", async ({ options, ids }) => {
    executor.setSampling(samplingOf(options), prompt);
    const got: number[] = [];
    while (got.length < ids.length) {
      device.device.queue.writeBuffer(frame.logits, 0, logits);
      got.push(...(await executor.sample(1, 0, 1, got.length, true)));
    }
    expect(got).toEqual(ids);
  });
});

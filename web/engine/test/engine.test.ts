/** Whole models: against bitnet.cpp's logits and the CPU's text, in every way that the engine can compute. */

import { afterAll, describe, expect, test, vi } from "vitest";
import { Engine, type EngineOptions } from "../src/engine.ts";
import { DeviceLost } from "../src/errors.ts";
import type { MemoryEstimate } from "../src/gpu/estimate.ts";
import { Model, type StopReason } from "../src/model.ts";
import { openai } from "../src/openai.ts";
import { GREEDY, type SamplingOptions, samplingOf } from "../src/sampling.ts";
import { dawn } from "./dawn.ts";
import { bytes, EMBEDDED, json, source } from "./files.ts";
import { floats } from "./golden.ts";
import { meanKl, median, relativeErrors, rowsOf, sameBest } from "./logits.ts";

const gpu = (await dawn()) as GPU;
const TINY = "tests/data/tiny-bitnet-b158-i2_s.gguf";
const TOKENS = json<number[]>("tests/data/tokens.json");

/** What the CPU writes after `ids`, with how clear each choice was (tests/web/sampling.py). */
interface Written {
  ids: number[];
  texts: { options: SamplingOptions; ids: number[]; margins: number[] }[];
}

/** Tokens of a text that are compared; all of them in the slow job (tests/web/test_build.py). */
const COMPARED = process.env.STERNA_SLOW ? Number.POSITIVE_INFINITY : 16;

/** Margins below which the engines may choose differently: of logits, and of chances. */
const NEAR_TIE = { greedy: 1e-2, sampled: 3e-3 };

function load(file: string, options: EngineOptions = {}): Promise<Engine> {
  return Engine.load(source(file), { ...options, device: { gpu, ...options.device } });
}

const engines = new Map<string, Promise<Engine>>();
afterAll(async () => {
  for (const engine of engines.values()) (await engine).dispose();
});

/** An engine that tests share: most of the time of a small model goes into compiling its kernels. */
function shared(file: string): Promise<Engine> {
  const engine = engines.get(file) ?? load(file);
  engines.set(file, engine);
  return engine;
}

async function written(engine: Engine, ids: number[], most: number, sampling = GREEDY): Promise<number[]> {
  const got: number[] = [];
  for await (const id of engine.generate(ids, sampling, most)) got.push(id);
  return got;
}

describe.skipIf(!gpu)("logits", () => {
  test.each([
    [TINY, "tests/data/bitnetcpp-i2_s.logits.f32"],
    ["tests/data/tiny-llama-i2_s.gguf", "tests/data/bitnetcpp-llama-i2_s.logits.f32"],
  ])("of %s are bitnet.cpp's", async (file, reference) => {
    const expected = rowsOf(floats(bytes(reference)), TOKENS.length);
    const got = await (await shared(file)).logits(TOKENS);
    const errors = relativeErrors(expected, got);
    expect(errors[0]).toBeLessThan(3e-2);
    expect(median(errors)).toBeLessThan(3e-2);
    expect(meanKl(expected, got)).toBeLessThan(5e-3);
    expect(sameBest(expected, got)).toBeGreaterThanOrEqual(45);
  });

  const part = TOKENS.slice(0, 10);
  const ways: [string, EngineOptions][] = [
    [
      "a token at a time, without subgroups and byte products",
      { chunk: 1, device: { without: ["subgroups", "packed"] } },
    ],
    ["seven tokens at a time, in small buffers", { chunk: 7, device: { maxBindingBytes: 50_000 } }],
    ["by several threads a row", { tuning: { lanes: 8, subgroups: false, dot: "packed", rowThreads: 128 } }],
  ];

  test.each(ways)("and texts are the same where they are computed %s", async (_, options) => {
    const engine = await shared(TINY);
    expect(engine.gpu.device.limits.maxComputeWorkgroupStorageSize).toBe(16384); // no more than WebGPU promises
    const expected = await engine.logits(part);
    const other = await load(TINY, options);
    const got = await other.logits(part);
    // Threads that share a row add its floats in another order.
    const tolerance = options.tuning ? 1e-4 : 0;
    part.forEach((_, i) => {
      for (const [id, value] of expected[i].entries())
        if (!(Math.abs(value - got[i][id]) <= tolerance)) throw new Error(`row ${i}, token ${id}`);
    });
    expect(await written(other, part, 8)).toEqual(await written(engine, part, 8));
    other.dispose();
  });

  test("with keys and values in int8 are close", async () => {
    const [half, byte] = [await shared(TINY), await load(TINY, { kv: "int8" })];
    const kl = meanKl(await half.logits(part), await byte.logits(part));
    expect(kl).toBeGreaterThan(0);
    expect(kl).toBeLessThan(4e-2); // the CPU's own int8 differs by 0.030 from its float16 here
    byte.dispose();
  });
});

describe.skipIf(!gpu)("texts", () => {
  test("are the CPU's up to near-ties, and cost what was promised", async () => {
    const fixture = json<{ written: Written }>("web/engine/test/fixtures/embedded.json").written;
    const engine = await shared(EMBEDDED);
    await written(engine, fixture.ids, 1);
    for (const { options, ids: all, margins } of fixture.texts) {
      const ids = all.slice(0, COMPARED);
      const before = { ...engine.counters };
      const got = await written(engine, fixture.ids, ids.length, samplingOf(options));
      const after = engine.counters;
      const end = got.findIndex((id, i) => id !== ids[i]);
      const near = options.temperature ? NEAR_TIE.sampled : NEAR_TIE.greedy;
      if (end >= 0) expect(margins[end], `${JSON.stringify(options)}, token ${end}`).toBeLessThan(near);
      const layers = engine.config.num_layers;
      expect((after.dispatches - before.dispatches) / ids.length).toBeLessThanOrEqual(10 * layers + 8);
      expect((after.bytesRead - before.bytesRead) / ids.length).toBeLessThanOrEqual(64);
      expect(after.submits - before.submits).toBeLessThanOrEqual(ids.length / 4 + 3);
    }
  });

  test("go on from what the cache has, and give the same", async () => {
    const engine = await shared(TINY);
    const prompt = TOKENS.slice(0, 12);
    const first = await written(engine, prompt, 10);
    const longer = [...prompt, ...first, 5];
    let reused = 0;
    const again: number[] = [];
    for await (const id of engine.generate(longer, GREEDY, 6, undefined, (n) => (reused = n))) again.push(id);
    expect(reused).toBe(longer.length - 2);
    const fresh = await load(TINY);
    expect(again).toEqual(await written(fresh, longer, 6));
    expect(await written(engine, prompt, 10)).toEqual(first);
    // A text beside it goes on, too, and so does the first one afterwards.
    const aside = TOKENS.slice(16, 28);
    expect(await written(engine, aside, 6)).toEqual(await written(fresh, aside, 6));
    for await (const _ of engine.generate(longer, GREEDY, 1, undefined, (n) => (reused = n)));
    expect(reused).toBe(longer.length - 1);
    // A prompt whose computing was broken off is not in the cache.
    const other = TOKENS.slice(20, 32);
    await expect(engine.generate(other, GREEDY, 1, AbortSignal.abort()).next()).rejects.toThrow(/abort/);
    expect(await written(engine, other, 6)).toEqual(await written(fresh, other, 6));
    fresh.dispose();
  });

  test("are chosen as the options say, and the same for the same seed", async () => {
    const engine = await shared(TINY);
    const prompt = TOKENS.slice(0, 8);
    const row = (await engine.logits(prompt))[prompt.length - 1];
    const order = Array.from(row.keys()).sort((a, b) => row[b] - row[a]);
    const choose = async (options: Parameters<typeof samplingOf>[0]) => {
      for await (const id of engine.generate(prompt, samplingOf(options), 1)) return id;
      return undefined;
    };
    const seen = new Set<unknown>();
    for (let seed = 0; seed < 24; seed++) seen.add(await choose({ temperature: 100, topK: 3, seed }));
    expect(seen).toEqual(new Set(order.slice(0, 3)));
    expect(await choose({ temperature: 5, topP: 1e-6, seed: 1 })).toBe(order[0]);
    expect(await choose({ temperature: 5, minP: 1, seed: 2 })).toBe(order[0]);
    expect(await choose({ temperature: 9, seed: 3 })).toBe(await choose({ temperature: 9, seed: 3 }));
    expect(prompt).not.toContain(await choose({ repetitionPenalty: 1000 }));
  });

  test("end by an abort", async () => {
    const engine = await shared(TINY);
    const controller = new AbortController();
    const got: number[] = [];
    const run = async () => {
      for await (const id of engine.generate(TOKENS, GREEDY, 100, controller.signal)) {
        got.push(id);
        if (got.length === 3) controller.abort();
      }
    };
    await expect(run()).rejects.toThrow(/abort/);
    expect(got.length).toBe(3);
    expect((await written(engine, TOKENS, 3)).length).toBe(3);
  });

  test("end by a device that is lost, and another one writes", async () => {
    const engine = await load(TINY);
    const lost = async () => {
      for await (const _ of engine.generate(TOKENS, GREEDY, 100)) engine.gpu.device.destroy();
    };
    await expect(lost()).rejects.toThrow(DeviceLost);
    await expect(written(engine, TOKENS, 1)).rejects.toThrow(DeviceLost);
    expect((await written(await shared(TINY), TOKENS, 3)).length).toBe(3);
  });
});

describe.skipIf(!gpu)("the model's face", () => {
  test("streams text, counts tokens, and stops where it is told", async () => {
    const file = source(EMBEDDED);
    const starts: number[] = [];
    const read = (start: number, end: number) => {
      starts.push(start);
      return file.read(start, end);
    };
    const made = vi.spyOn(GPUDevice.prototype, "createBuffer");
    const told: MemoryEstimate[] = [];
    const options = { device: { gpu }, onEstimate: (estimate: MemoryEstimate) => void told.push(estimate) };
    using model = await Model.load({ name: file.name, size: file.size, read }, options);
    expect(starts.filter((start) => start === 0)).toEqual([0]); // the header is read once
    const bytes = made.mock.calls.reduce((sum, [{ size }]) => sum + size, 0);
    made.mockRestore();
    expect(told.map(({ file, weights, rows }) => [file, (weights + rows) / bytes])).toEqual([
      [file.size, expect.closeTo(1, 1)],
    ]);
    const generation = model.generate("It was a dark and stormy night", { maxTokens: 12, stop: ["falling"] });
    expect(await generation.text()).toBe(", and the rain was ");
    expect(generation.stopReason satisfies StopReason | undefined).toBe("stop");
    expect(generation.usage.promptTokens).toBe(model.tokenizer.encode("It was a dark and stormy night").length);
    const client = openai(model);
    const request = { messages: [{ role: "user", content: "Hello" }], temperature: 0, max_tokens: 4 } as const;
    const whole = await client.chat.completions.create(request);
    let streamed = "";
    for await (const chunk of client.chat.completions.create({ ...request, stream: true }))
      streamed += chunk.choices[0].delta.content ?? "";
    expect(streamed).toBe(whole.choices[0].message.content);
    expect(whole.usage.completion_tokens).toBeLessThanOrEqual(4);
    expect(() => client.chat.completions.create({ ...request, tools: [] } as never)).toThrow(/tools/);
    await expect(model.generate("a", { temperature: -1 }).text()).rejects.toThrow(/temperature/);
    await expect(model.generate("a", { maxTokens: 2.5 }).text()).rejects.toThrow(/maxTokens/);
    await expect(model.generate([10 ** 6]).text()).rejects.toThrow(/vocabulary/);
  });
});

test("a model that would need too much is stopped before its weights are asked for", async () => {
  const controller = new AbortController();
  const keep = vi.fn();
  const file = source(TINY);
  const given = { name: file.name, size: file.size, read: file.read.bind(file), keep };
  const loading = Engine.load(given, { onEstimate: () => controller.abort(), signal: controller.signal });
  await expect(loading).rejects.toThrow(/abort/);
  expect(keep).not.toHaveBeenCalled();
});

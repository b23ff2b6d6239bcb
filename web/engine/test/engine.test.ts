import { describe, expect, test } from "vitest";
import { Engine } from "../src/engine.ts";
import { GREEDY } from "../src/sampling.ts";
import { dawn } from "./dawn.ts";
import { EMBEDDED, json, source } from "./files.ts";

const gpu = await dawn();

describe.skipIf(!gpu)("the embedded model", () => {
  test("writes the CPU's text", async () => {
    const fixture = json<{ ids: number[]; greedy: number[]; gaps: number[] }>("web/engine/test/fixtures/embedded.json");
    const engine = await Engine.load(source(EMBEDDED), { device: { gpu: gpu as GPU } });
    const got: number[] = [];
    for await (const id of engine.generate(fixture.ids, GREEDY, 64)) got.push(id);
    expect(got).toEqual(fixture.greedy);
    engine.dispose();
  });
});

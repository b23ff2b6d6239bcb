/** Models of a folder, which tests/web/test_files.py makes, beside the logits that they must give. */

import { readdirSync, readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { Engine } from "../src/engine.ts";
import { BytesSource } from "../src/files/source.ts";
import { dawn } from "./dawn.ts";
import { floats } from "./golden.ts";
import { meanKl, median, relativeErrors, rowsOf, sameBest } from "./logits.ts";

const { STERNA_FILES: folder, STERNA_MEDIAN: most, STERNA_KL: kl } = process.env;
const gpu = (await dawn()) as GPU;

describe.skipIf(!gpu || !folder)("logits", () => {
  const read = (name: string) => new Uint8Array(readFileSync(`${folder}/${name}`));
  const models = folder ? readdirSync(folder).filter((name) => name.endsWith(".gguf")) : [];

  test.each(models)("of %s", async (name) => {
    const tokens: number[] = JSON.parse(new TextDecoder().decode(read("tokens.json")));
    const expected = rowsOf(floats(read(name.replace(".gguf", ".f32"))), tokens.length);
    const engine = await Engine.load(new BytesSource(read(name), name), { device: { gpu } });
    const got = await engine.logits(tokens);
    const errors = relativeErrors(expected, got);
    expect(errors[0]).toBeLessThan(Number(most));
    expect(median(errors)).toBeLessThan(Number(most));
    expect(meanKl(expected, got)).toBeLessThan(Number(kl));
    expect(sameBest(expected, got) / tokens.length).toBeGreaterThanOrEqual(0.9);
    engine.dispose();
  });
});

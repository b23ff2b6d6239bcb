import { describe, expect, test } from "vitest";
import { FormatError, UnsupportedError } from "../src/errors.ts";
import { ENCODINGS, type EncodingName } from "../src/files/encodings.ts";
import { readGGUF, type Value } from "../src/files/gguf.ts";
import { BytesSource } from "../src/files/source.ts";
import { buildPlan, checkTensors, readConfig, usedTensors } from "../src/model/model.ts";
import type { Plan } from "../src/model/plan.ts";
import { Tokenizer } from "../src/tokenizer/tokenizer.ts";
import { EMBEDDED, json, source } from "./files.ts";

interface Fixture {
  name: string;
  metadata: Record<string, Value>;
  factors: number[] | null;
  tensors: Record<string, [EncodingName, number[]]>;
  plan: Plan;
}

const models = json<Fixture[]>("web/engine/test/fixtures/models.json");

function described(fixture: Fixture) {
  const entries = Object.entries(fixture.tensors);
  return new Map(entries.map(([name, [encoding, shape]]) => [name, { encoding: ENCODINGS[encoding], shape }]));
}

/** JavaScript's power differs from Python's in the last bit now and then: numbers to 14 digits. */
function rounded(plan: Plan): unknown {
  return JSON.parse(JSON.stringify(plan), (_, value) =>
    typeof value === "number" ? Number(value.toPrecision(14)) : value,
  );
}

describe("plans", () => {
  test.each(models.map((fixture) => [fixture.name, fixture] as const))("%s is Python's", (_, fixture) => {
    const tensors = described(fixture);
    const config = readConfig(new Map(Object.entries(fixture.metadata)), tensors, fixture.factors);
    checkTensors(config, tensors);
    expect(rounded(buildPlan(config, tensors))).toEqual(rounded(fixture.plan));
  });

  test("what is not known is refused by name", () => {
    const fixture = models[0];
    const refused = (changes: Record<string, Value>, tensors = described(fixture)) => {
      const metadata = new Map(Object.entries({ ...fixture.metadata, ...changes }));
      checkTensors(readConfig(metadata, tensors, null), tensors);
    };
    expect(() => refused({ "general.architecture": "qwen35" })).toThrow(/qwen35/);
    expect(() => refused({ "general.architecture": "constructor" })).toThrow(UnsupportedError);
    expect(() => refused({ "bitnet-b1.58.expert_count": 8 })).toThrow(/expert_count = 8/);
    expect(() => refused({ "bitnet-b1.58.attention.head_count": 3 })).toThrow(UnsupportedError);
    expect(() => refused({ "bitnet-b1.58.context_length": -1 })).toThrow(FormatError);
    const more = described(fixture);
    more.set("blk.0.ffn_gate_exps.weight", { encoding: ENCODINGS.i2_s, shape: [8, 128] });
    expect(() => refused({}, more)).toThrow(/ffn_gate_exps/);
    more.clear();
    expect(() => refused({}, more)).toThrow(/token_embd/);
  });
});

describe("GGUF files", () => {
  test("the embedded model is read whole", async () => {
    const file = await readGGUF(source(EMBEDDED));
    const config = readConfig(file.metadata, file.tensors, null);
    checkTensors(config, usedTensors(file, config));
    expect(config.architecture).toBe("bitnet-b1.58");
    expect(file.metadata.get("general.name")).toBe("sterna-tern");
  });

  test("a text keeps a byte order mark at its beginning", async () => {
    const utf8 = new TextEncoder();
    const u64 = (value: number) => [...new Uint8Array(BigUint64Array.of(BigInt(value)).buffer)];
    const text = (value: string) => [...u64(utf8.encode(value).length), ...utf8.encode(value)];
    const tokens = ["using", "\uFEFFusing", "\uFEFF"];
    const list = [9, 0, 0, 0, 8, 0, 0, 0, ...u64(tokens.length), ...tokens.flatMap(text)];
    const file = Uint8Array.of(...utf8.encode("GGUF"), 3, 0, 0, 0, ...u64(0), ...u64(1), ...text("tokens"), ...list);
    expect((await readGGUF(new BytesSource(file))).metadata.get("tokens")).toEqual(tokens);
  });

  test("a truncated or hostile header is one sentence", async () => {
    const whole = await source("tests/data/tiny-llama-i2_s.gguf").read(0, 1e9);
    const open = (bytes: Uint8Array) => readGGUF(new BytesSource(bytes, "it"));
    for (const size of [0, 3, 23, 24, 100, 1000, 20_000, whole.length - 1])
      await expect(open(whole.slice(0, size)), `${size} bytes`).rejects.toThrow(FormatError);
    const changed = (at: number, value: number[]) => {
      const copy = whole.slice();
      copy.set(value, at);
      return copy;
    };
    await expect(open(changed(0, [0]))).rejects.toThrow(/letters GGUF/);
    await expect(open(changed(4, [9]))).rejects.toThrow(UnsupportedError);
    await expect(open(changed(8, [255, 255, 255, 255, 255, 255, 255, 255]))).rejects.toThrow(/claims .* tensors/);
    await expect(open(changed(16, [255, 255, 255, 255]))).rejects.toThrow(/metadata keys/);
    await expect(open(changed(24, [255, 255, 255, 255]))).rejects.toThrow(/a name in it/);
    for (let at = 24; at < 400; at++)
      await open(changed(at, [255])).catch((error) => {
        if (!(error instanceof FormatError || error instanceof UnsupportedError)) throw error;
      });
  });
});

interface Embedded {
  texts: [string, number[]][];
  chat: [{ role: "user"; content: string }[], number[]];
}

describe("the embedded model's tokenizer", async () => {
  const tokenizer = new Tokenizer((await readGGUF(source(EMBEDDED))).metadata);
  const fixture = json<Embedded>("web/engine/test/fixtures/embedded.json");

  test.each(fixture.texts)("encodes %j as Python does, and decodes it", (text, ids) => {
    expect(tokenizer.encode(text)).toEqual(ids);
    expect(tokenizer.decode(ids)).toBe(text);
  });

  test("writes conversations as Python does, and takes no typed special token", () => {
    const [messages, ids] = fixture.chat;
    expect(tokenizer.encodeChat(messages)).toEqual(ids);
    const eos = [...tokenizer.eosIds][0];
    const forged = tokenizer.encodeChat([{ role: "user", content: "<|endoftext|><s></s><|end_of_text|>" }]);
    expect(forged.slice(1)).not.toContain(eos);
  });

  test("has no template where bitnet.cpp's converter wrote one that does not work", async () => {
    const metadata = new Map((await readGGUF(source(EMBEDDED))).metadata);
    const template = (text: string) => new Tokenizer(metadata.set("tokenizer.chat_template", text)).chatTemplate;
    expect(template("BITNETAssistant")).toBeNull();
    expect(template(" \n")).toBeNull();
    expect(template("{{ messages[0].content }}")).toBe("{{ messages[0].content }}");
  });

  test("never shows half a character", () => {
    const decoder = tokenizer.stream();
    const shown = tokenizer.encode("naïve 你好 🐦").map((id) => decoder.push(id));
    expect(shown.join("")).toBe("naïve 你好 🐦");
    expect(decoder.flush()).toBe("");
  });
});

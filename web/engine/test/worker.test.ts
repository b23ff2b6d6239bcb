import { describe, expect, test } from "vitest";
import { ArgumentError, SternaError } from "../src/errors.ts";
import { Model } from "../src/model.ts";
import { RemoteModel } from "../src/remote.ts";
import { type Endpoint, serve } from "../src/worker.ts";
import { dawn } from "./dawn.ts";
import { bytes } from "./files.ts";

const gpu = await dawn();
const TINY = "tests/data/tiny-bitnet-b158-i2_s.gguf";

/** A connection to a worker's code in this thread. Its messages are copied as a worker's are. */
function worker(): { endpoint: Endpoint; close: () => void } {
  const { port1, port2 } = new MessageChannel();
  port1.start();
  port2.start();
  serve(port2 as unknown as Endpoint);
  return { endpoint: port1 as unknown as Endpoint, close: () => port1.close() };
}

test("a worker that fails ends what was asked of it", async () => {
  const target = new EventTarget();
  const endpoint = Object.assign(target, { postMessage: () => {} }) as unknown as Endpoint;
  const loading = RemoteModel.load(endpoint, "http://127.0.0.1/model.gguf");
  target.dispatchEvent(Object.assign(new Event("error"), { message: "no memory" }));
  await expect(loading).rejects.toThrow("The worker failed: no memory.");
});

test("a reply reaches the model that asked, where a worker loads another one", async () => {
  const ids: number[] = [];
  const target = Object.assign(new EventTarget(), { postMessage: ({ id }: { id: number }) => ids.push(id) });
  const [first, second] = ["a", "b"].map((name) =>
    RemoteModel.load(target as unknown as Endpoint, `http://127.0.0.1/${name}.gguf`),
  );
  const end = (id: number, name: string) =>
    target.dispatchEvent(new MessageEvent("message", { data: { id, kind: "end", value: { name } } }));
  end(ids[1], "b");
  end(ids[0], "a");
  expect([(await first).name, (await second).name]).toEqual(["a", "b"]);
});

test("what is no address is refused with a sentence, in the page and for a worker", async () => {
  const { endpoint, close } = worker();
  await expect(RemoteModel.load(endpoint, "https://")).rejects.toThrow(ArgumentError);
  await expect(Model.load("https://")).rejects.toThrow("'https://' is no address of a file.");
  close();
});

describe.skipIf(!gpu)("a model in a worker", () => {
  test("writes what it writes in the page, and stops when it is told to", async () => {
    Object.defineProperty(globalThis, "navigator", { value: { gpu }, configurable: true });
    const { endpoint, close } = worker();
    const phases = new Set<string>();
    const remote = await RemoteModel.load(endpoint, bytes(TINY), { onProgress: ({ phase }) => phases.add(phase) });
    expect([...phases]).toEqual(["header", "weights", "kernels"]);
    expect([remote.name, remote.hasTemplate]).toEqual(["golden", false]);
    const generation = remote.generate("It was a dark and stormy night", { maxTokens: 6 });
    const text = await generation.text();
    {
      using model = await Model.load(bytes(TINY));
      const own = model.generate("It was a dark and stormy night", { maxTokens: 6 });
      expect(text).toBe(await own.text());
      expect(generation.usage).toEqual(own.usage);
      expect(generation.stopReason).toBe("length");
    }
    for await (const { ids } of remote.chat([{ role: "user", content: "Hello" }])) {
      expect(ids.length).toBeGreaterThan(0);
      break; // the worker must not go on to the end of the context
    }
    const controller = new AbortController();
    controller.abort();
    await expect(remote.generate("a", { signal: controller.signal }).text()).rejects.toThrow(/abort/);
    await expect(remote.generate("a", { topP: 2 }).text()).rejects.toThrow(ArgumentError);
    expect((await remote.logits("a")).length).toBeGreaterThan(0);
    remote.dispose();
    await expect(remote.logits("a")).rejects.toThrow(SternaError);
    close();
  });
});

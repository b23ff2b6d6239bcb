import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { expect, test } from "vitest";
import { cachedSource, fromCache, listModels, removeModel } from "../src/files/cache.ts";
import { UrlSource } from "../src/files/source.ts";

const SIZE = 5 << 20;
const CONTENT = new Uint8Array(SIZE).map((_, i) => i % 251);

/** A file system like a browser's, in memory: what is written is there when the file is closed. */
function fileSystem() {
  const files = new Map<string, Uint8Array>();
  const handle = (name: string) => ({
    getFile: async () => new File([files.get(name) as Uint8Array<ArrayBuffer>], name),
    createWritable: async ({ keepExistingData = false } = {}) => {
      let bytes = keepExistingData ? (files.get(name) as Uint8Array) : new Uint8Array(0);
      const write = async (given: string | { position: number; data: Uint8Array }) => {
        const { position, data } =
          typeof given === "string" ? { position: 0, data: new TextEncoder().encode(given) } : given;
        const grown = new Uint8Array(Math.max(bytes.length, position + data.length));
        grown.set(bytes);
        grown.set(data, position);
        bytes = grown;
      };
      return { write, close: async () => void files.set(name, bytes) };
    },
  });
  const directory = {
    getDirectoryHandle: async () => directory,
    getFileHandle: async (name: string, { create = false } = {}) => {
      if (!files.has(name) && !create) throw new DOMException(name, "NotFoundError");
      if (!files.has(name)) files.set(name, new Uint8Array(0));
      return handle(name);
    },
    removeEntry: async (name: string) => void files.delete(name),
    keys: async function* () {
      yield* files.keys();
    },
  };
  return directory;
}

test("a download tells how far it is, and goes on where it was interrupted", async () => {
  const starts: number[] = [];
  const server = createServer((request, reply) => {
    const [start, last] = (request.headers.range as string).slice("bytes=".length).split("-").map(Number);
    starts.push(start);
    const headers = { etag: '"1"', "content-range": `bytes ${start}-${last}/${CONTENT.length}` };
    reply.writeHead(206, headers).end(CONTENT.subarray(start, last + 1));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const root = fileSystem();
  Object.defineProperty(globalThis, "navigator", {
    value: { storage: { getDirectory: async () => root } },
    configurable: true,
  });
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/model.gguf`;
  const controller = new AbortController();
  const told: number[] = [];
  const interrupted = await cachedSource(await UrlSource.open(url), (bytes) => {
    told.push(bytes);
    controller.abort();
  });
  await expect(interrupted.read(0, 4, controller.signal)).rejects.toThrow(/abort/);
  expect(told).toEqual([4 << 20]);
  expect(await listModels()).toEqual([{ url, bytes: 4 << 20, whole: false }]);

  starts.length = 0;
  const source = await cachedSource(await UrlSource.open(url), (bytes) => told.push(bytes));
  expect(Buffer.compare(await source.read(0, SIZE), CONTENT)).toBe(0);
  expect(told).toEqual([4 << 20, SIZE]);
  expect(starts).toEqual([0, 4 << 20]); // the first asks for the size
  expect(await listModels()).toEqual([{ url, bytes: SIZE, whole: true }]);
  const address = url.replace("/model", "/./model"); // written as `load` takes it, too
  expect((await fromCache(address))?.size).toBe(SIZE);
  await removeModel(address);
  expect(await listModels()).toEqual([]);
  server.close();
});

import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { expect, test } from "vitest";
import { FormatError } from "../src/errors.ts";
import { cachedSource, fromCache, listModels, removeModel } from "../src/files/cache.ts";
import { UrlSource } from "../src/files/source.ts";
import { Model } from "../src/model.ts";

const PART = 1 << 22;
const SIZE = PART + 5;
const CONTENT = new Uint8Array(SIZE).map((_, i) => i % 251);
const NEWER = new Uint8Array(SIZE).map((_, i) => i % 241);

/** A file system like a browser's, in memory, with room for `room` bytes: what is written is there when the file is
 * closed. */
function fileSystem(room: number) {
  const files = new Map<string, Uint8Array>();
  const handle = (name: string) => ({
    getFile: async () => new File([files.get(name) as Uint8Array<ArrayBuffer>], name),
    createWritable: async () => {
      let bytes = new Uint8Array(0);
      const write = async (given: string | Uint8Array) => {
        const data = typeof given === "string" ? new TextEncoder().encode(given) : given;
        const parts = [...files].filter(([other]) => /\.\d+$/.test(other) && other !== name);
        const kept = parts.reduce((sum, [, { length }]) => sum + length, 0);
        if (typeof given !== "string" && kept + bytes.length + data.length > room)
          throw new DOMException("No room.", "QuotaExceededError");
        const grown = new Uint8Array(bytes.length + data.length);
        grown.set(bytes);
        grown.set(data, bytes.length);
        bytes = grown;
      };
      return { write, abort: async () => {}, close: async () => void files.set(name, bytes) };
    },
  });
  const directory = {
    getDirectoryHandle: async () => directory,
    getFileHandle: async (name: string, { create = false } = {}) => {
      if (!files.has(name) && !create) throw new DOMException(name, "NotFoundError");
      if (!files.has(name)) files.set(name, new Uint8Array(0));
      return handle(name);
    },
    removeEntry: async (name: string) => {
      if (!files.delete(name)) throw new DOMException(name, "NotFoundError");
    },
    keys: async function* () {
      yield* files.keys();
    },
  };
  return { directory, files };
}

/** A server with the file, the beginnings of the ranges it was asked for, and a browser whose file system has room for
 * `room` bytes. */
async function surroundings(room: number) {
  const starts: number[] = [];
  const served = { etag: '"1"', content: CONTENT as Uint8Array };
  const server = createServer((request, reply) => {
    const [start, last] = (request.headers.range as string).slice("bytes=".length).split("-").map(Number);
    starts.push(start);
    const headers = { etag: served.etag, "content-range": `bytes ${start}-${last}/${served.content.length}` };
    reply.writeHead(206, headers).end(served.content.subarray(start, last + 1));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { directory: root, files } = fileSystem(room);
  let asked = 0;
  const persist = async () => ++asked > 0;
  let last: Promise<unknown> = Promise.resolve();
  const request = (_name: string, _options: object, run: () => Promise<unknown>) =>
    (last = last.catch(() => {}).then(run));
  Object.defineProperty(globalThis, "navigator", {
    value: { storage: { getDirectory: async () => root, persist }, locks: { request } },
    configurable: true,
  });
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/model.gguf`;
  return { url, starts, served, root, files, close: () => server.close(), persisted: () => asked };
}

async function kept(url: string, told: number[] = []) {
  const source = await cachedSource(await UrlSource.open(url), (bytes) => told.push(bytes));
  await source.keep?.();
  return source;
}

test("a download tells how far it is, and goes on behind the parts that are there", async () => {
  const { url, starts, close } = await surroundings(SIZE);
  const controller = new AbortController();
  const told: number[] = [];
  const interrupted = await cachedSource(await UrlSource.open(url), (bytes) => {
    told.push(bytes);
    if (bytes) controller.abort();
  });
  expect(Array.from(await interrupted.read(249, 253))).toEqual([249, 250, 0, 1]); // before it is kept
  await expect(interrupted.keep?.(controller.signal)).rejects.toThrow(/abort/);
  expect(told.splice(0)).toEqual([0, PART]);
  expect(await listModels()).toEqual([{ url, bytes: PART, whole: false }]);

  starts.length = 0;
  const source = await kept(url, told);
  expect(Buffer.compare(await source.read(0, SIZE), CONTENT)).toBe(0);
  expect(told.splice(0)).toEqual([PART, SIZE]);
  expect(starts).toEqual([0, PART]); // the first asks for the size
  expect(await listModels()).toEqual([{ url, bytes: SIZE, whole: true }]);
  starts.length = 0;
  const again = await kept(url, told);
  expect(Buffer.compare(await again.read(PART - 2, PART + 2), CONTENT.subarray(PART - 2, PART + 2))).toBe(0);
  expect([told, starts]).toEqual([[SIZE], [0]]);
  const address = url.replace("/model", "/./model"); // written as `load` takes it, too
  expect((await fromCache(address))?.size).toBe(SIZE);
  await removeModel(address);
  expect(await listModels()).toEqual([]);
  close();
});

test("a kept model one of whose parts is not whole is not used before it has come again", async () => {
  const { url, files, starts, close } = await surroundings(SIZE);
  await kept(url);
  const first = [...files.keys()].find((name) => name.endsWith(".0")) as string;
  files.set(first, CONTENT.slice(0, 7));
  expect(await fromCache(url)).toBeNull();
  expect(await listModels()).toEqual([{ url, bytes: 0, whole: false }]);
  starts.length = 0;
  expect(Buffer.compare(await (await kept(url)).read(0, SIZE), CONTENT)).toBe(0);
  expect(starts).toContain(0);
  close();
});

test("a file of another size is another version, whatever its server calls it", async () => {
  const { url, served, close } = await surroundings(SIZE);
  served.etag = "";
  await kept(url);
  served.content = CONTENT.subarray(1, 10);
  const source = await kept(url);
  expect([source.size, Array.from(await source.read(0, 2))]).toEqual([9, [1, 2]]);
  expect(await listModels()).toEqual([{ url, bytes: 9, whole: true }]);
  close();
});

test("two pages that load a model at a time download it once", async () => {
  const { url, starts, close } = await surroundings(SIZE);
  const sources = await Promise.all([kept(url), kept(url)]);
  for (const source of sources) expect(Buffer.compare(await source.read(0, SIZE), CONTENT)).toBe(0);
  expect(starts.filter((start) => start === PART)).toEqual([PART]);
  close();
});

test("a page that goes away before a newer version has come leaves nothing of the older one under its name", async () => {
  const { url, served, root, close } = await surroundings(SIZE);
  await kept(url);
  Object.assign(served, { etag: '"2"', content: NEWER });
  const { getFileHandle } = root;
  const createWritable = () => Promise.reject(new Error("The page went away."));
  root.getFileHandle = async (name, options) => {
    const handle = await getFileHandle(name, options);
    return name.endsWith(".json") ? handle : { ...handle, createWritable };
  };
  await expect(kept(url)).rejects.toThrow("went away");
  root.getFileHandle = getFileHandle;
  expect(await fromCache(url)).toBeNull();
  expect(Buffer.compare(await (await kept(url)).read(0, SIZE), NEWER)).toBe(0);
  close();
});

test.each([0, PART, SIZE - 1])(
  "a file for which there is no room is read from its server: room for %i",
  async (room) => {
    const { url, close } = await surroundings(room);
    const source = await kept(url);
    expect(Buffer.compare(await source.read(0, SIZE), CONTENT)).toBe(0);
    expect(await listModels()).toEqual([]); // no part of it takes room
    close();
  },
);

test("a file that would not fit is not begun", async () => {
  const { url, starts, close } = await surroundings(SIZE);
  Object.assign(navigator.storage, { estimate: async () => ({ quota: SIZE, usage: 1 }) });
  await kept(url);
  expect(starts).toEqual([0]);
  expect(await listModels()).toEqual([]);
  close();
});

test("the browser is asked to keep what a page loads, before it is known to run", async () => {
  const { url, persisted, close } = await surroundings(SIZE);
  await expect(Model.load(url)).rejects.toThrow(FormatError);
  expect(persisted()).toBe(1);
  expect(await listModels()).toEqual([]);
  close();
});

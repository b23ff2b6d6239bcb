import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { expect, test } from "vitest";
import { SourceError } from "../src/errors.ts";
import { BlobSource, UrlSource } from "../src/files/source.ts";

test("a server that breaks off each time is one sentence", async () => {
  let asked = 0;
  const server = createServer((request, reply) => {
    const [start, last] = (request.headers.range as string).slice("bytes=".length).split("-").map(Number);
    reply.writeHead(206, { "content-range": `bytes ${start}-${last}/100`, "content-length": last - start + 1 });
    if (asked++) reply.write("a", () => reply.destroy());
    else reply.end("a");
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const source = await UrlSource.open(`http://127.0.0.1:${(server.address() as AddressInfo).port}/model.gguf`);
  const error = await source.read(0, 50).catch((error) => error);
  expect(error).toBeInstanceOf(SourceError);
  expect(error.message).toMatch(/^http.* broke off while it was loaded\.$/);
  expect(asked).toBe(5); // the size, and four tries
  server.close();
});

test.each([
  [200, {}, /sends no parts of files/],
  [206, {}, /Content-Range/],
])("a reply of %i without what loading needs is one sentence", async (status, headers, sentence) => {
  const server = createServer((_request, reply) => void reply.writeHead(status, headers).end("a"));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = `http://127.0.0.1:${(server.address() as AddressInfo).port}/model.gguf`;
  await expect(UrlSource.open(address)).rejects.toThrow(sentence);
  server.close();
});

test("a file that was removed is one sentence", async () => {
  const gone = { size: 4, slice: () => ({ arrayBuffer: () => Promise.reject(new DOMException("", "NotFoundError")) }) };
  const source = new BlobSource(gone as unknown as Blob, "model.gguf");
  await expect(source.read(0, 4)).rejects.toThrow(
    new SourceError("model.gguf can no longer be read: it was changed or removed."),
  );
});

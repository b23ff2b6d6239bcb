import { expect, test } from "vitest";
import { eventData } from "../src/api/sse.ts";

/** The data of a stream that comes in pieces of some bytes. */
async function read(text: string, bytes: number): Promise<string[]> {
  const encoded = new TextEncoder().encode(text);
  const stream = new ReadableStream<Uint8Array>({
    start(controller) {
      for (let at = 0; at < encoded.length; at += bytes) controller.enqueue(encoded.slice(at, at + bytes));
      controller.close();
    },
  });
  const found: string[] = [];
  for await (const data of eventData(stream)) found.push(data);
  return found;
}

test.each([1, 2, 3, 7, 1000])("events come whole, however the stream is cut: %i bytes", async (bytes) => {
  const text = 'data: {"a": "süß 🐦"}\n\n: ping\n\ndata: 2\r\n\r\nevent: x\ndata:3\n\ndata: [DONE]';
  expect(await read(text, bytes)).toEqual(['{"a": "süß 🐦"}', "2", "3", "[DONE]"]);
});

test("a stream that breaks raises its error", async () => {
  const stream = new ReadableStream<Uint8Array>({ pull: (controller) => controller.error(new Error("gone")) });
  await expect(eventData(stream).next()).rejects.toThrow("gone");
});

/** Ternary language models in the browser, by WebGPU.
 *
 *     import { Sterna } from "@sterna/web";
 *     const model = await Sterna.load("https://example.org/model.gguf", { onProgress: console.log });
 *     for await (const { text } of model.chat([{ role: "user", content: "Hello!" }])) console.log(text);
 */

import { fromCache, listModels, removeModel } from "./files/cache.ts";
import { Model } from "./model.ts";

export const Sterna = { load: Model.load, fromCache, listModels, removeModel };

export type { EngineOptions, LoadProgress } from "./engine.ts";
export * from "./errors.ts";
export type { CachedModel } from "./files/cache.ts";
export { BlobSource, type ByteSource, BytesSource, UrlSource } from "./files/source.ts";
export type { DeviceOptions } from "./gpu/device.ts";
export type { MemoryEstimate } from "./gpu/estimate.ts";
export type {
  GenerateOptions,
  Generation,
  LoadOptions,
  Model,
  Piece,
  Prompt,
  Source,
  StopReason,
  Usage,
} from "./model.ts";
export { type ChatChunk, type ChatCompletion, type ChatRequest, openai } from "./openai.ts";
export { type RemoteGeneration, RemoteModel } from "./remote.ts";
export type { SamplingOptions } from "./sampling.ts";
export type { Message } from "./tokenizer/chat.ts";

/** The worker's side of `RemoteModel`: a model of its own for each connection, so that the page's thread stays free. */

import type { LoadProgress } from "./engine.ts";
import { SternaError } from "./errors.ts";
import type { MemoryEstimate } from "./gpu/estimate.ts";
import { type GenerateOptions, type LoadOptions, Model, type Prompt, type Source } from "./model.ts";
import type { Message } from "./tokenizer/chat.ts";

/** What both sides need of a Worker, its global scope or a MessagePort. */
export interface Endpoint {
  postMessage(message: unknown): void;
  addEventListener(type: "message", listener: (event: MessageEvent) => void): void;
  addEventListener(type: "error", listener: (event: ErrorEvent) => void): void;
}

/** What the page asks; signals do not cross, so `abort` names the request that it ends. */
export type Request =
  | { id: number; kind: "load"; source: Source; options: LoadOptions }
  | { id: number; kind: "generate"; prompt: Prompt; options: GenerateOptions }
  | { id: number; kind: "chat"; messages: readonly Message[]; options: GenerateOptions }
  | { id: number; kind: "logits"; prompt: Prompt }
  | { id: number; kind: "abort" }
  | { id: number; kind: "dispose" };

/** What the worker says of a request: parts as they come, then its end or an error. */
export type Reply =
  | { id: number; kind: "part"; value: unknown }
  | { id: number; kind: "end"; value: unknown }
  | { id: number; kind: "error"; name: string; message: string };

/** A part of the reply to `load`. */
export interface LoadPart {
  progress?: LoadProgress;
  estimate?: MemoryEstimate;
}

/** Answers the requests of one page. */
export function serve(endpoint: Endpoint): void {
  let model: Model | undefined;
  const dispose = () => {
    model?.dispose();
    model = undefined;
  };
  const controllers = new Map<number, AbortController>();

  async function answer(request: Request, signal: AbortSignal, part: (value: unknown) => void): Promise<unknown> {
    if (request.kind === "load") {
      dispose();
      const say = (value: LoadPart) => part(value);
      const loaded = await Model.load(request.source, {
        ...request.options,
        signal,
        onProgress: (progress) => say({ progress }),
        onEstimate: (estimate) => say({ estimate }),
      });
      dispose(); // of another one that was asked for meanwhile
      model = loaded;
      const { name, device, contextLength, tokenizer } = loaded;
      return { name, device, contextLength, hasTemplate: tokenizer.chatTemplate !== null };
    }
    if (!model) throw new SternaError("The worker has no model.");
    if (request.kind === "generate" || request.kind === "chat") {
      const options = { ...request.options, signal };
      const generation =
        request.kind === "chat" ? model.chat(request.messages, options) : model.generate(request.prompt, options);
      for await (const piece of generation) part(piece);
      return { usage: generation.usage, stopReason: generation.stopReason };
    }
    if (request.kind === "logits") return model.logits(request.prompt, signal);
    dispose();
    return undefined;
  }

  endpoint.addEventListener("message", async ({ data }: MessageEvent<Request>) => {
    const { id } = data;
    if (data.kind === "abort") return controllers.get(id)?.abort();
    const controller = new AbortController();
    controllers.set(id, controller);
    const reply = (message: Reply) => endpoint.postMessage(message);
    try {
      const value = await answer(data, controller.signal, (part) => reply({ id, kind: "part", value: part }));
      reply({ id, kind: "end", value });
    } catch (error) {
      const { name, message } = error instanceof Error ? error : new Error(String(error));
      reply({ id, kind: "error", name, message });
    } finally {
      controllers.delete(id);
    }
  });
}

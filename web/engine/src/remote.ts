/** The page's side of a model that runs in a worker: the interface of `Model`. */

import * as errors from "./errors.ts";
import { persist } from "./files/cache.ts";
import { addressOf } from "./files/source.ts";
import type { GenerateOptions, LoadOptions, Piece, Prompt, Source, StopReason, Usage } from "./model.ts";
import type { Message } from "./tokenizer/chat.ts";
import type { Endpoint, LoadPart, Reply, Request } from "./worker.ts";

type Asked = Request extends infer R ? (R extends Request ? Omit<R, "id"> : never) : never;

interface Pending {
  part: (value: unknown) => void;
  end: (value: unknown) => void;
  error: (error: Error) => void;
}

/** Requests to a worker, and the replies that belong to them. */
class Connection {
  /** Requests so far, of all connections: a worker may have several, one after another. */
  private static count = 0;
  private readonly pending = new Map<number, Pending>();
  private failure: Error | undefined;

  constructor(private readonly endpoint: Endpoint) {
    endpoint.addEventListener("message", ({ data }: MessageEvent<Reply>) => {
      const pending = this.pending.get(data.id);
      if (!pending) return;
      if (data.kind === "part") return pending.part(data.value);
      this.pending.delete(data.id);
      if (data.kind === "end") pending.end(data.value);
      else pending.error(errorOf(data.name, data.message));
    });
    endpoint.addEventListener("error", (event) => {
      this.failure = new errors.SternaError(`The worker failed: ${event.message || "its script cannot be loaded"}.`);
      for (const { error } of this.pending.values()) error(this.failure);
      this.pending.clear();
    });
  }

  /** Asks, and gives the end of the reply; `aborted` tells the worker that the answer is not wanted any more. */
  ask(request: Asked, part: (value: unknown) => void, signal?: AbortSignal): Promise<unknown> {
    const id = ++Connection.count;
    const abort = () => this.endpoint.postMessage({ id, kind: "abort" } satisfies Request);
    return new Promise<unknown>((end, error) => {
      if (this.failure) throw this.failure;
      this.pending.set(id, { part, end, error });
      this.endpoint.postMessage({ ...request, id });
      if (signal?.aborted) abort();
      signal?.addEventListener("abort", abort, { once: true });
    }).finally(() => signal?.removeEventListener("abort", abort));
  }
}

/** An error of the worker's, of the class that it had there. */
function errorOf(name: string, message: string): Error {
  const kind = (errors as Record<string, unknown>)[name] as (new (message: string) => Error) | undefined;
  if (kind) return new kind(message);
  return name === "AbortError" ? new DOMException(message, name) : new Error(message);
}

/** A text that a worker writes: as `Generation`. */
export class RemoteGeneration implements AsyncIterable<Piece> {
  usage: Usage = { promptTokens: 0, completionTokens: 0, cachedTokens: 0 };
  stopReason: StopReason | undefined;

  constructor(private readonly start: (part: (piece: Piece) => void, signal: AbortSignal) => Promise<unknown>) {}

  async *[Symbol.asyncIterator](): AsyncGenerator<Piece, void> {
    const controller = new AbortController();
    const pieces: Piece[] = [];
    let wake = () => {};
    let ended = false;
    const end = this.start((piece) => {
      pieces.push(piece);
      wake();
    }, controller.signal);
    const finished = end.finally(() => {
      ended = true;
      wake();
    });
    finished.catch(() => {}); // it is seen below, or not wanted any more
    try {
      while (!ended || pieces.length) {
        const piece = pieces.shift();
        if (piece) yield piece;
        else
          await new Promise<void>((resolve) => {
            wake = resolve;
          });
      }
      Object.assign(this, await finished);
    } finally {
      controller.abort();
    }
  }

  /** The whole text. */
  async text(): Promise<string> {
    let text = "";
    for await (const piece of this) text += piece.text;
    return text;
  }
}

/** A model in a worker. */
export class RemoteModel implements Disposable {
  declare readonly name: string;
  declare readonly device: string;
  declare readonly contextLength: number;
  declare readonly hasTemplate: boolean;

  private constructor(
    private readonly connection: Connection,
    about: object,
  ) {
    Object.assign(this, about);
  }

  /** As `Sterna.load`, in this worker. Of the options, `device.gpu` cannot cross to it. */
  static async load(worker: Endpoint, source: Source, options: LoadOptions = {}): Promise<RemoteModel> {
    const { onProgress, onEstimate, signal, ...rest } = options;
    const connection = new Connection(worker);
    const isAddress = typeof source === "string" || source instanceof URL;
    // A URL does not cross, and an address is meant from the page on, not from the worker's script.
    const request = { kind: "load", source: isAddress ? addressOf(source) : source, options: rest } as const;
    if (isAddress && options.cache !== false) persist();
    const part = (value: unknown) => {
      const { progress, estimate } = value as LoadPart;
      if (progress) onProgress?.(progress);
      if (estimate) onEstimate?.(estimate);
    };
    return new RemoteModel(connection, (await connection.ask(request, part, signal)) as object);
  }

  generate(prompt: Prompt, options: GenerateOptions = {}): RemoteGeneration {
    return this.writing(options, (rest) => ({ kind: "generate", prompt, options: rest }));
  }

  chat(messages: readonly Message[], options: GenerateOptions = {}): RemoteGeneration {
    return this.writing(options, (rest) => ({ kind: "chat", messages, options: rest }));
  }

  async logits(prompt: Prompt, signal?: AbortSignal): Promise<Float32Array[]> {
    return (await this.connection.ask({ kind: "logits", prompt }, () => {}, signal)) as Float32Array[];
  }

  /** Frees the GPU's memory; the worker may load another model. */
  dispose(): void {
    this.connection.ask({ kind: "dispose" }, () => {}).catch(() => {}); // a worker that failed has freed it
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  private writing({ signal, ...rest }: GenerateOptions, request: (rest: GenerateOptions) => Asked): RemoteGeneration {
    return new RemoteGeneration((part, left) => {
      const either = signal ? AbortSignal.any([signal, left]) : left;
      return this.connection.ask(request(rest), (value) => part(value as Piece), either);
    });
  }
}

import { Engine, type EngineOptions, readHeader } from "./engine.ts";
import { ArgumentError, SourceError } from "./errors.ts";
import { cachedSource, fromCache, persist } from "./files/cache.ts";
import { addressOf, BlobSource, type ByteSource, BytesSource, UrlSource } from "./files/source.ts";
import { type SamplingOptions, samplingOf } from "./sampling.ts";
import { FALLBACK_STOPS, type Message } from "./tokenizer/chat.ts";
import { StopStrings } from "./tokenizer/stops.ts";
import { Tokenizer } from "./tokenizer/tokenizer.ts";

export interface LoadOptions extends EngineOptions {
  /** Keeps files from URLs in the browser's own file system; default: yes, where it has one. */
  cache?: boolean;
}

export interface GenerateOptions extends SamplingOptions {
  /** Most tokens to generate; default: up to the end of the text or of the context. */
  maxTokens?: number;
  /** Strings that end the text and are not part of it. */
  stop?: readonly string[];
  /** Goes on past the end of the text. */
  ignoreEos?: boolean;
  signal?: AbortSignal;
}

/** Some text, and the tokens that it became certain with. */
export interface Piece {
  text: string;
  ids: number[];
}

export interface Usage {
  promptTokens: number;
  completionTokens: number;
  /** Tokens of the prompt whose keys and values were there from before. */
  cachedTokens: number;
}

/** `eos`, `stop` (a stop string) or `length` (`maxTokens`, or the context is full). */
export type StopReason = "eos" | "stop" | "length";
export type Source = string | URL | Blob | Uint8Array | ByteSource;
export type Prompt = string | readonly number[];

/** A text that is being written: iterate over its pieces once, or ask for the whole. */
export class Generation implements AsyncIterable<Piece> {
  readonly usage: Usage;
  /** Undefined until the text has ended. */
  stopReason: StopReason | undefined;

  constructor(
    private readonly engine: Engine,
    private readonly tokenizer: Tokenizer,
    private readonly ids: readonly number[],
    private readonly options: GenerateOptions,
  ) {
    this.usage = { promptTokens: ids.length, completionTokens: 0, cachedTokens: 0 };
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Piece, void> {
    const { maxTokens = Number.POSITIVE_INFINITY, stop = [], ignoreEos = false, signal, ...sampling } = this.options;
    if (!(maxTokens >= 1 && (Number.isInteger(maxTokens) || maxTokens === Number.POSITIVE_INFINITY)))
      throw new ArgumentError(`maxTokens is a whole number from 1 on, not ${maxTokens}.`);
    const decoder = this.tokenizer.stream();
    const stops = new StopStrings(stop);
    const reused = (count: number) => {
      this.usage.cachedTokens = count;
    };
    let ids: number[] = [];
    for await (const id of this.engine.generate(this.ids, samplingOf(sampling), maxTokens, signal, reused)) {
      this.usage.completionTokens++;
      if (!ignoreEos && this.tokenizer.eosIds.has(id)) {
        this.stopReason = "eos";
        break;
      }
      ids.push(id);
      const text = stops.push(decoder.push(id));
      if (text) {
        yield { text, ids };
        ids = [];
      }
      if (stops.found) {
        this.stopReason = "stop";
        return;
      }
    }
    const rest = stops.push(decoder.flush());
    if (stops.found) this.stopReason = "stop";
    this.stopReason ??= "length";
    const text = rest + stops.flush();
    if (text || ids.length) yield { text, ids };
  }

  /** The whole text. */
  async text(): Promise<string> {
    let text = "";
    for await (const piece of this) text += piece.text;
    return text;
  }
}

/** A model that is loaded on the GPU. */
export class Model implements Disposable {
  private constructor(
    private readonly engine: Engine,
    readonly tokenizer: Tokenizer,
    /** The model's own name. */
    readonly name: string,
  ) {}

  /** Opens a GGUF model from a URL (whose server sends parts of files), a File or Blob, bytes, or a source of one's
   * own. See `Engine.load` for the errors. */
  static async load(source: Source, options: LoadOptions = {}): Promise<Model> {
    const opened = await open(source, options);
    // The tokenizer comes first: a file without one is refused before its weights are loaded.
    const file = await readHeader(opened, options);
    const tokenizer = new Tokenizer(file.metadata);
    const engine = await Engine.fromHeader(file, opened, options);
    const name = file.metadata.get("general.name");
    return new Model(engine, tokenizer, typeof name === "string" ? name : opened.name);
  }

  /** Most positions of a text with its prompt. */
  get contextLength(): number {
    return this.engine.context;
  }

  /** What computes, as its driver calls it. */
  get device(): string {
    return this.engine.gpu.adapterName;
  }

  /** What the engine has done so far. */
  get counters() {
    return this.engine.counters;
  }

  /** Settles with an error when the GPU goes away. */
  get lost(): Promise<Error> {
    return this.engine.gpu.lost;
  }

  /** Goes on with a text, or with token ids. */
  generate(prompt: Prompt, options: GenerateOptions = {}): Generation {
    const ids = typeof prompt === "string" ? this.tokenizer.encode(prompt) : prompt;
    return new Generation(this.engine, this.tokenizer, ids, options);
  }

  /** Answers a conversation, in the model's own template. */
  chat(messages: readonly Message[], options: GenerateOptions = {}): Generation {
    const fallback = this.tokenizer.chatTemplate === null ? FALLBACK_STOPS : [];
    const stop = [...(options.stop ?? []), ...fallback];
    return new Generation(this.engine, this.tokenizer, this.tokenizer.encodeChat(messages), { ...options, stop });
  }

  /** Logits after each token of a prompt, rows of the vocabulary's size. */
  logits(prompt: Prompt, signal?: AbortSignal): Promise<Float32Array[]> {
    return this.engine.logits(typeof prompt === "string" ? this.tokenizer.encode(prompt) : prompt, signal);
  }

  /** Frees the GPU's memory. */
  dispose(): void {
    this.engine.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}

async function open(source: Source, options: LoadOptions): Promise<ByteSource> {
  if (typeof source === "string" || source instanceof URL) {
    const address = addressOf(source);
    const { signal, onProgress } = options;
    if (options.cache === false) return UrlSource.open(address, signal);
    try {
      const url = await UrlSource.open(address, signal);
      persist();
      return await cachedSource(url, (bytes) => onProgress?.({ phase: "download", bytes, total: url.size }));
    } catch (error) {
      const kept = error instanceof SourceError ? await fromCache(address) : null;
      if (kept) return kept; // without a network
      throw error;
    }
  }
  if (source instanceof Blob) return new BlobSource(source);
  return source instanceof Uint8Array ? new BytesSource(source) : source;
}

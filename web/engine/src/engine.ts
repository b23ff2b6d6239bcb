/** A model on the GPU: token ids in, token ids out. */

import { ArgumentError } from "./errors.ts";
import { type GGUF, readGGUF } from "./files/gguf.ts";
import type { ByteSource } from "./files/source.ts";
import { autotune } from "./gpu/autotune.ts";
import { compile, type Frame } from "./gpu/compile.ts";
import { type DeviceOptions, Gpu } from "./gpu/device.ts";
import { estimate, type MemoryEstimate } from "./gpu/estimate.ts";
import { Executor, MOST_STEPS, type Sampling } from "./gpu/executor.ts";
import { KvCache, type KvType } from "./gpu/kv.ts";
import type { Tuning } from "./gpu/step.ts";
import { defaultTuning } from "./gpu/tuning.ts";
import { floats, Loader } from "./gpu/weights.ts";
import type { Config } from "./model/config.ts";
import { buildPlan, checkTensors, ROPE_FACTORS, readConfig, scaledMatrix, usedTensors } from "./model/model.ts";

export interface LoadProgress {
  /** `download` only where a file from a URL is kept: it comes between the header and the weights. */
  phase: "header" | "download" | "weights" | "kernels";
  /** Bytes that are there, of all: of the file while it is downloaded, later of the weights on the GPU. */
  bytes: number;
  total: number;
}

export interface EngineOptions {
  /** Most positions of a sequence; default: the model's, up to 4096. */
  context?: number;
  /** How keys and values are kept. */
  kv?: KvType;
  device?: DeviceOptions;
  /** Most tokens of a pass. */
  chunk?: number;
  /** How matrices are multiplied; default: the fastest of what this GPU can do. */
  tuning?: Tuning;
  onProgress?: (progress: LoadProgress) => void;
  /** Told once, after the header and before anything else is downloaded: `signal` can stop what would be too much. */
  onEstimate?: (estimate: MemoryEstimate) => void;
  signal?: AbortSignal;
}

/** The header of a file, which is reported as a phase of loading. Rejects as `readGGUF`. */
export function readHeader(source: ByteSource, { onProgress, signal }: EngineOptions): Promise<GGUF> {
  onProgress?.({ phase: "header", bytes: 0, total: source.size });
  return readGGUF(source, signal);
}

const DEFAULT_CONTEXT = 4096;
const DEFAULT_CHUNK = 64;

export class Engine {
  private last: Promise<void> = Promise.resolve();

  private constructor(
    readonly file: GGUF,
    readonly config: Config,
    readonly context: number,
    readonly gpu: Gpu,
    readonly tuning: Tuning,
    private readonly executor: Executor,
    private readonly kv: KvCache,
  ) {}

  /** Opens a GGUF model. Rejects with FormatError or UnsupportedError for a file that does not run, ArgumentError for a
   * context that the model does not have, WebGPUUnavailable, OutOfMemory, DeviceLost, and SourceError for bytes that
   * cannot be had. */
  static async load(source: ByteSource, options: EngineOptions = {}): Promise<Engine> {
    return Engine.fromHeader(await readHeader(source, options), source, options);
  }

  /** As `load`, for a file whose header was read. */
  static async fromHeader(file: GGUF, source: ByteSource, options: EngineOptions): Promise<Engine> {
    const { signal } = options;
    const report = (phase: LoadProgress["phase"], bytes: number, total: number) =>
      options.onProgress?.({ phase, bytes, total });
    const rope = file.tensors.get(ROPE_FACTORS);
    const factors = rope && Array.from(floats(rope, await source.read(rope.offset, rope.offset + rope.bytes, signal)));
    const config = readConfig(file.metadata, file.tensors, factors ?? null);
    const tensors = usedTensors(file, config);
    checkTensors(config, tensors);
    const plan = buildPlan(config, tensors);
    const context = options.context ?? Math.min(config.context_length, DEFAULT_CONTEXT);
    if (!(Number.isInteger(context) && context > 0 && context <= config.context_length))
      throw new ArgumentError(`The context is a whole number up to the model's, ${config.context_length}.`);

    const scales = new Map(
      [...file.tensors.values()].flatMap((info) => {
        const matrix = scaledMatrix(info.name);
        return matrix ? [[matrix, info] as const] : [];
      }),
    );
    const chunk = options.chunk ?? DEFAULT_CHUNK;
    const kvType = options.kv ?? "f16";
    options.onEstimate?.(estimate(plan, tensors, source.size, kvType, context, chunk));
    signal?.throwIfAborted();
    const gpu = await Gpu.open(options.device);
    try {
      await source.keep?.(signal);
      const total = [...tensors.values()].reduce((sum, info) => sum + info.bytes, 0);
      const loader = new Loader(gpu, source, tensors, scales, (bytes) => report("weights", bytes, total), signal);
      const tuning = options.tuning ?? (gpu.isProcessor ? defaultTuning(gpu) : await autotune(gpu));
      const frame: Frame = {
        state: gpu.buffer(16, "state"),
        tokens: gpu.buffer(chunk * 4, "tokens"),
        logits: gpu.buffer(config.vocab_size * 4, "logits"),
      };
      const kv = new KvCache(gpu, plan, kvType, chunk);
      const program = await gpu.allocating("the model", () =>
        compile(gpu, plan, tensors, loader, kv, frame, tuning, chunk),
      );
      report("kernels", total, total);
      const executor = await Executor.make(gpu, program, kv, frame, config.vocab_size, chunk, context);
      return new Engine(file, config, context, gpu, tuning, executor, kv);
    } catch (error) {
      gpu.device.destroy();
      throw error;
    }
  }

  get counters() {
    return this.executor.counters;
  }

  /** Ids that go on from these, one by one, up to the end of the context. `reused`, where given, is told how many ids
   * of the prompt needed no computing. The caller stops by leaving the loop. */
  async *generate(
    ids: readonly number[],
    sampling: Sampling,
    most: number,
    signal?: AbortSignal,
    reused?: (count: number) => void,
  ): AsyncGenerator<number, void> {
    this.checkIds(ids);
    const done = await this.turn();
    const flight: Promise<number[]>[] = [];
    try {
      const common = this.kv.begin(ids);
      reused?.(common);
      const fresh = ids.slice(common);
      await this.executor.prefill(fresh, common, signal);
      for (const id of fresh) this.kv.ids.push(id); // a call has no room for a long text's as arguments
      this.executor.setSampling(sampling, ids);
      const lastPass = fresh.length % this.executor.chunk || this.executor.chunk;
      const limit = Math.min(most, this.context - ids.length + 1);
      let asked = 0;
      let last: number | undefined;
      const ask = async () => {
        const steps = Math.min(asked ? MOST_STEPS : 1, limit - asked);
        if (steps <= 0) return;
        await this.executor.reserve(Math.min(ids.length + asked + steps, this.context));
        const [n, position] = asked ? [1, ids.length + asked - 1] : [lastPass, ids.length - lastPass];
        const answer = this.executor.sample(n, position, steps, asked, asked === 0);
        answer.catch(() => {}); // its error is seen when it is its turn, or not wanted any more
        flight.push(answer);
        asked += steps;
      };
      await ask();
      while (flight.length) {
        signal?.throwIfAborted();
        if (flight.length < 2) await ask(); // two submissions are under way at a time
        for (const id of (await flight.shift()) ?? []) {
          signal?.throwIfAborted();
          // The model reads an id in the pass that gives the next one.
          if (last !== undefined) this.kv.ids.push(last);
          last = id;
          yield id;
        }
      }
    } finally {
      done();
    }
  }

  /** Logits after each id, of one causal pass: rows of the vocabulary's size. */
  async logits(ids: readonly number[], signal?: AbortSignal): Promise<Float32Array[]> {
    this.checkIds(ids);
    const done = await this.turn();
    try {
      this.kv.begin([]);
      return await this.executor.logits(ids, signal);
    } finally {
      done();
    }
  }

  /** Frees the GPU's memory; whatever is under way ends in DeviceLost. */
  dispose(): void {
    this.executor.dispose();
  }

  private checkIds(ids: readonly number[]): void {
    const { vocab_size } = this.config;
    if (!ids.length) throw new ArgumentError("A prompt has at least one token.");
    if (ids.length >= this.context + 1)
      throw new ArgumentError(`The prompt has ${ids.length} tokens, and the context ${this.context}.`);
    for (const id of ids)
      if (!(Number.isInteger(id) && id >= 0 && id < vocab_size))
        throw new ArgumentError(`Token id ${id} is outside the vocabulary of ${vocab_size} tokens.`);
  }

  /** Waits until the generation before has ended; the result is called when this one has. */
  private async turn(): Promise<() => void> {
    const before = this.last;
    let done = () => {};
    this.last = new Promise((resolve) => {
      done = resolve;
    });
    await before;
    return done;
  }
}

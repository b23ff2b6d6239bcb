/** Runs compiled plans: passes over several tokens, and chains of steps that sample on the GPU. */

import { ArgumentError } from "../errors.ts";
import type { Frame, Program } from "./compile.ts";
import type { Gpu } from "./device.ts";
import type { KvCache } from "./kv.ts";
import type { Step } from "./step.ts";

/** How the next token is chosen, in this order, as in `engine/sampling.py`. */
export interface Sampling {
  temperature: number;
  topK: number;
  topP: number;
  minP: number;
  repetitionPenalty: number;
  presencePenalty: number;
  frequencyPenalty: number;
  /** Added to the logits of these ids. */
  logitBias: ReadonlyMap<number, number>;
  seed: bigint;
}

/** What the engine did since it was made; a test holds it to its promises. */
export interface Counters {
  dispatches: number;
  passes: number;
  submits: number;
  bindGroups: number;
  bytesRead: number;
}

/** A step with what it needs to be dispatched. */
interface Bound {
  step: Step;
  pipeline: GPUComputePipeline;
  group: GPUBindGroup;
}

/** Most tokens that are chosen in one submission. */
export const MOST_STEPS = 4;
const IN_PROMPT = 0x80000000;
const SAMPLING_WORDS = 9;

export class Executor {
  readonly counters: Counters = { dispatches: 0, passes: 0, submits: 0, bindGroups: 0, bytesRead: 0 };
  private readonly pipelines = new Map<Step, GPUComputePipeline>();
  private bound = new Map<Step, Bound>();
  private readonly sampleStep: Step;

  private constructor(
    private readonly gpu: Gpu,
    readonly program: Program,
    private readonly kv: KvCache,
    private readonly frame: Frame,
    private readonly vocabulary: number,
    /** Most tokens of a pass. */
    readonly chunk: number,
    private readonly context: number,
    private readonly results: GPUBuffer,
    private readonly seen: GPUBuffer,
    private readonly bias: GPUBuffer,
    private readonly sampling: GPUBuffer,
  ) {
    const { state, logits, tokens } = frame;
    const buffers = { state, logits, tokens, results, seen, bias, sampling };
    this.sampleStep = {
      kernel: "sample",
      constants: { VOCABULARY: vocabulary },
      buffers: () => buffers,
      groups: () => [1, 1],
    };
  }

  static async make(
    gpu: Gpu,
    program: Program,
    kv: KvCache,
    frame: Frame,
    vocabulary: number,
    chunk: number,
    context: number,
  ): Promise<Executor> {
    const results = gpu.buffer(MOST_STEPS * 4, "results");
    const seen = gpu.buffer(vocabulary * 4, "seen");
    const bias = gpu.buffer(vocabulary * 4, "bias");
    const sampling = gpu.buffer(SAMPLING_WORDS * 4, "sampling");
    const executor = new Executor(gpu, program, kv, frame, vocabulary, chunk, context, results, seen, bias, sampling);
    await executor.makePipelines();
    return executor;
  }

  private get steps(): Step[] {
    return [...new Set([...this.program.prefill, ...this.program.decode, ...this.program.head, this.sampleStep])];
  }

  private async makePipelines(): Promise<void> {
    await Promise.all(
      this.steps.map(async (step) => {
        this.pipelines.set(step, await this.gpu.pipeline(step));
      }),
    );
  }

  /** Makes room for positions, and binds kernels to buffers that are new. */
  async reserve(positions: number): Promise<void> {
    if (positions > this.context)
      throw new ArgumentError(`The text has ${positions} tokens, and the context ${this.context}.`);
    if (!(await this.kv.reserve(positions, this.context)) && this.bound.size) return;
    this.bound = new Map(this.steps.map((step) => [step, this.bind(step)]));
  }

  private bind(step: Step): Bound {
    const pipeline = this.pipelines.get(step) as GPUComputePipeline;
    this.counters.bindGroups++;
    return { step, pipeline, group: this.gpu.bind(step, pipeline) };
  }

  private dispatch(pass: GPUComputePassEncoder, steps: readonly Step[], n: number): void {
    for (const step of steps) {
      const { pipeline, group } = this.bound.get(step) as Bound;
      pass.setPipeline(pipeline);
      pass.setBindGroup(0, group);
      const [x, y] = step.groups(n);
      pass.dispatchWorkgroups(x, y);
      this.counters.dispatches++;
    }
  }

  private submit(encode: (pass: GPUComputePassEncoder) => void, after?: (encoder: GPUCommandEncoder) => void): void {
    this.gpu.check();
    const encoder = this.gpu.device.createCommandEncoder();
    const pass = encoder.beginComputePass();
    encode(pass);
    pass.end();
    after?.(encoder);
    this.gpu.device.queue.submit([encoder.finish()]);
    this.counters.passes++;
    this.counters.submits++;
  }

  private write(buffer: GPUBuffer, values: Uint32Array<ArrayBuffer> | Float32Array<ArrayBuffer>): void {
    this.gpu.device.queue.writeBuffer(buffer, 0, values);
  }

  /** Keys and values of ids from `position` on; the rows of the last pass stay for the head. */
  async prefill(ids: readonly number[], position: number, signal?: AbortSignal): Promise<void> {
    await this.reserve(position + ids.length);
    for (let at = 0; at < ids.length; at += this.chunk) {
      signal?.throwIfAborted();
      const part = ids.slice(at, at + this.chunk);
      this.pass(part, position + at);
      if (at + this.chunk < ids.length) await this.gpu.device.queue.onSubmittedWorkDone();
    }
  }

  private pass(part: readonly number[], position: number): void {
    this.write(this.frame.tokens, Uint32Array.from(part));
    this.write(this.frame.state, Uint32Array.of(part.length, position, 0, 0));
    const steps = part.length === 1 ? this.program.decode : this.program.prefill;
    this.submit((pass) => this.dispatch(pass, steps, part.length));
  }

  /** The logits of each id, a row of the vocabulary's size each, in one causal pass from position 0 on. */
  async logits(ids: readonly number[], signal?: AbortSignal): Promise<Float32Array[]> {
    await this.reserve(ids.length);
    const rows: Float32Array[] = [];
    for (let at = 0; at < ids.length; at += this.chunk) {
      signal?.throwIfAborted();
      const part = ids.slice(at, at + this.chunk);
      this.pass(part, at);
      for (let row = 0; row < part.length; row++) {
        // The head takes the last token of a pass, so each row is the last of a shorter one.
        this.write(this.frame.state, Uint32Array.of(row + 1, at, 0, 0));
        this.submit((pass) => this.dispatch(pass, this.program.head, 1));
        rows.push(new Float32Array(await this.read(this.frame.logits, this.vocabulary * 4)));
      }
    }
    return rows;
  }

  /** The bytes of a buffer. */
  async read(buffer: GPUBuffer, bytes: number): Promise<ArrayBuffer> {
    const { device } = this.gpu;
    const staging = device.createBuffer({ size: bytes, usage: GPUBufferUsage.COPY_DST | GPUBufferUsage.MAP_READ });
    const encoder = device.createCommandEncoder();
    encoder.copyBufferToBuffer(buffer, 0, staging, 0, bytes);
    device.queue.submit([encoder.finish()]);
    return this.take(staging, bytes);
  }

  /** The content of a buffer that was copied for the page, which is destroyed. */
  private async take(staging: GPUBuffer, bytes: number): Promise<ArrayBuffer> {
    try {
      await staging.mapAsync(GPUMapMode.READ);
    } catch (error) {
      // The promise of a lost device settles a little later than the mapping fails.
      await Promise.race([this.gpu.lost, new Promise((resolve) => setTimeout(resolve, 100))]);
      this.gpu.check();
      throw error;
    }
    const copy = staging.getMappedRange().slice(0);
    staging.destroy();
    this.counters.bytesRead += bytes;
    return copy;
  }

  /** Sets how tokens are chosen from now on; `prompt` are the ids whose repetition is penalised. */
  setSampling(sampling: Sampling, prompt: readonly number[]): void {
    const words = new Uint32Array(SAMPLING_WORDS);
    const floats = new Float32Array(words.buffer);
    floats[0] = sampling.temperature;
    words[1] = sampling.topK;
    floats[2] = sampling.topP;
    floats[3] = sampling.minP;
    floats[4] = sampling.repetitionPenalty;
    floats[5] = sampling.presencePenalty;
    floats[6] = sampling.frequencyPenalty;
    words[7] = Number(sampling.seed & 0xffffffffn);
    words[8] = Number((sampling.seed >> 32n) & 0xffffffffn);
    this.write(this.sampling, words);
    const seen = new Uint32Array(this.vocabulary);
    for (const id of prompt) seen[id] = IN_PROMPT;
    this.write(this.seen, seen);
    const bias = new Float32Array(this.vocabulary);
    for (const [id, value] of sampling.logitBias) bias[id] = value;
    this.write(this.bias, bias);
  }

  /** Chooses `steps` tokens, each the input of the next, after `sampled` others of the text. The pass before the first
   * choice has `n` tokens from `position` on; `isDone`: it has run, so its rows are there. What is asked of the GPU is
   * asked before this returns, so several calls may be under way. `reserve` makes room for them. */
  sample(n: number, position: number, steps: number, sampled: number, isDone: boolean): Promise<number[]> {
    this.write(this.frame.state, Uint32Array.of(n, position, 0, sampled));
    const bytes = steps * 4;
    const usage = GPUBufferUsage.COPY_DST | GPUBufferUsage.MAP_READ;
    const staging = this.gpu.device.createBuffer({ size: bytes, usage });
    const choose = [...this.program.head, this.sampleStep];
    this.submit(
      (pass) => {
        for (let step = 0; step < steps; step++) {
          if (step || !isDone) this.dispatch(pass, this.program.decode, 1);
          this.dispatch(pass, choose, 1);
        }
      },
      (encoder) => encoder.copyBufferToBuffer(this.results, 0, staging, 0, bytes),
    );
    return this.take(staging, bytes).then((ids) => Array.from(new Uint32Array(ids)));
  }

  /** Frees the GPU's memory. */
  dispose(): void {
    this.gpu.device.destroy();
  }
}

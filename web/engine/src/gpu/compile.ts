/** Compiles a plan to the dispatches of a pass: which operations share one, as their kernel has parts for both (a layer
 * of BitNet takes ten). What a kernel is given stands in `rows.ts`, `linear.ts` and `attention.ts`. */

import { UnsupportedError } from "../errors.ts";
import type { Activations } from "../files/encodings.ts";
import type { Described } from "../model/builder.ts";
import type { Attention, Gated, Hadamard, Linear, Norm, Operation, Plan, Rope } from "../model/plan.ts";
import { reads } from "../model/plan.ts";
import { attentionSteps, type HeadNorms } from "./attention.ts";
import type { Gpu } from "./device.ts";
import type { KvCache } from "./kv.ts";
import { type Job, linearSteps } from "./linear.ts";
import { layoutOf } from "./repack.ts";
import { embedSteps, hadamardStep, type NormWeight, normAddStep, type Parted, type RowParts, rowStep } from "./rows.ts";
import { Slots } from "./slots.ts";
import type { Step, Tuning } from "./step.ts";
import type { Loader, Matrix } from "./weights.ts";

/** The dispatches of a pass over several tokens and over one, and those of the head, for the last token of a pass. */
export interface Program {
  readonly prefill: readonly Step[];
  readonly decode: readonly Step[];
  readonly head: readonly Step[];
  readonly slots: Slots;
}

/** What a compiled plan reads and writes beside its slots. */
export interface Frame {
  readonly state: GPUBuffer;
  readonly tokens: GPUBuffer;
  readonly logits: GPUBuffer;
}

export async function compile(
  gpu: Gpu,
  plan: Plan,
  tensors: ReadonlyMap<string, Described>,
  loader: Loader,
  kv: KvCache,
  frame: Frame,
  tuning: Tuning,
  tokens: number,
): Promise<Program> {
  const compiler = new Compiler(gpu, plan, tensors, loader, kv, frame, tuning, tokens);
  await compiler.run();
  return compiler;
}

class Compiler implements Program {
  readonly prefill: Step[] = [];
  readonly decode: Step[] = [];
  readonly head: Step[] = [];
  readonly slots: Slots;
  private readonly matrices = new Map<string, Matrix>();
  /** Slots whose whole numbers are those of their rows, with the kind. */
  private readonly fresh = new Map<string, string>();
  /** Slots of attentions whose rows are still in parts where one token is computed. */
  private readonly parted = new Map<string, Parted>();
  private at = 0;

  constructor(
    private readonly gpu: Gpu,
    private readonly plan: Plan,
    private readonly tensors: ReadonlyMap<string, Described>,
    private readonly loader: Loader,
    private readonly kv: KvCache,
    private readonly frame: Frame,
    private readonly tuning: Tuning,
    tokens: number,
  ) {
    this.slots = new Slots(gpu, plan, tokens);
  }

  async run(): Promise<void> {
    const { operations } = this.plan;
    while (this.at < operations.length) await this.next(operations[this.at]);
    await this.addHead();
    this.gather(...this.parted.keys());
  }

  private async next(operation: Operation): Promise<void> {
    const attention = this.attentionAfter();
    if (attention) return this.addAttention(attention);
    switch (operation.kind) {
      case "embed":
        return this.addEmbed(operation.weight, operation.out);
      case "linear":
        return this.addLinears();
      case "norm":
        if (operation.heads !== 1) throw new UnsupportedError("A norm of heads stands where no attention follows.");
        return this.addRow(operation.x, operation.out);
      case "gated":
        return this.addRow(operation.gate, operation.out, operation);
      case "hadamard":
        return this.addHadamard(operation);
      default:
        throw new UnsupportedError(`The browser's engine has no kernel for '${operation.kind}' at this place.`);
    }
  }

  private add(...steps: Step[]): void {
    this.decode.push(...steps);
    this.prefill.push(...steps);
  }

  private get following(): Operation | undefined {
    return this.plan.operations[this.at];
  }

  /** Operations from the present one on that read a slot before it is written anew; the head reads the output. */
  private readers(slot: string): (Operation | "head")[] {
    const found: (Operation | "head")[] = [];
    for (const operation of this.plan.operations.slice(this.at)) {
      if (reads(operation).includes(slot)) found.push(operation);
      if (operation.out === slot) return found;
    }
    return slot === this.plan.output ? [...found, "head"] : found;
  }

  /** How matrices that read a slot want it quantised; undefined where none does, or they differ. */
  private wanted(slot: string): "int8" | "int15" | undefined {
    const kinds = new Set<string>();
    for (const reader of this.readers(slot)) {
      if (reader === "head") kinds.add(this.plan.head.activations);
      else if (reader.kind === "linear") kinds.add(reader.activations);
    }
    kinds.delete("none");
    return kinds.size === 1 ? ([...kinds][0] as "int8" | "int15") : undefined;
  }

  private async loaded(names: readonly string[]): Promise<Matrix> {
    const key = names.join(" ");
    const matrix = this.matrices.get(key) ?? (await this.loader.matrix(names));
    this.matrices.set(key, matrix);
    return matrix;
  }

  private async vector(name: string): Promise<GPUBuffer> {
    return this.upload(await this.loader.vector(name), name);
  }

  private upload(values: Float32Array, name: string): GPUBuffer {
    const buffer = this.gpu.buffer(values.byteLength, name);
    this.gpu.device.queue.writeBuffer(buffer, 0, values as Float32Array<ArrayBuffer>);
    return buffer;
  }

  private async addEmbed(weight: string, out: string): Promise<void> {
    this.at++;
    let factor = 1;
    const next = this.following;
    if (next?.kind === "scale" && next.x === out && next.out === out) {
      factor = next.factor;
      this.at++;
    }
    const matrix = await this.loaded([weight]);
    if (matrix.layout.kind === "ternary")
      throw new UnsupportedError("An embedding in a ternary encoding does not run in a browser yet.");
    const { state, tokens } = this.frame;
    this.add(...embedSteps(state, tokens, matrix, factor, this.slots.view(out)));
    this.fresh.delete(out);
  }

  /** An operation on whole rows with the norm, or a norm with the sum, that follows it. */
  private async addRow(x: string, out: string, gated?: Gated): Promise<void> {
    const first = this.following as Operation;
    this.at++;
    let norm = first.kind === "norm" ? first : undefined;
    const next = this.following;
    if (!norm && next?.kind === "norm" && next.heads === 1 && next.x === out && next.out === out) {
      norm = next;
      this.at++;
    } else if (norm && next?.kind === "add" && next.out === next.x && next.y === out && next.x !== out) {
      this.at++;
      if (!this.readers(out).length) return this.addNormAdd(x, next.out, norm);
      this.at--;
    }
    if (gated) this.gather(gated.gate, gated.up);
    if (out !== x && this.readers(x).length) this.gather(x);
    const gate = gated && { up: this.slots.view(gated.up), activation: gated.activation };
    await this.addRowStep(x, out, this.wanted(out), {
      ...(gate && { gate }),
      ...(norm && { norm: await this.norm(norm) }),
    });
  }

  /** `kind`: the whole numbers that are made of the row as well. */
  private addRowStep(x: string, out: string, kind: "int8" | "int15" | undefined, parts: Omit<RowParts, "quantize">) {
    const quantize = kind && this.slots.quantized(out, kind);
    const [from, to, all] = [this.slots.view(x), this.slots.view(out), { ...parts, ...(quantize && { quantize }) }];
    const parted = this.parted.get(x);
    const { rowThreads } = this.tuning;
    this.prefill.push(rowStep(from, to, rowThreads, all));
    this.decode.push(rowStep(from, to, rowThreads, { ...all, ...(parted && { parted }) }));
    this.parted.delete(x);
    this.fresh.delete(out);
    if (kind) this.fresh.set(out, kind);
  }

  /** Brings the rows of slots together that are in parts. */
  private gather(...slots: string[]): void {
    for (const slot of slots) if (this.parted.has(slot)) this.addRowStep(slot, slot, undefined, {});
  }

  /** The sum with a norm that nothing else reads. */
  private async addNormAdd(x: string, out: string, norm: Norm): Promise<void> {
    this.gather(x);
    const { rowThreads } = this.tuning;
    this.add(normAddStep(this.slots.view(x), this.slots.view(out), rowThreads, await this.norm(norm)));
    this.fresh.delete(out);
  }

  private async norm({ weight, eps }: Norm): Promise<NormWeight> {
    return { weight: await this.vector(weight), eps };
  }

  /** A slot as the input of matrices; its whole numbers are made here where no row kernel has made them. */
  private input(slot: string, activations: Activations): Pick<Job, "x" | "form"> {
    const x = this.slots.view(slot);
    if (activations === "none") {
      this.gather(slot);
      return { x };
    }
    if (this.fresh.get(slot) !== activations) this.addRowStep(slot, slot, activations, {});
    return { x, form: this.slots.quantized(slot, activations) };
  }

  /** The matrices from here on that read the same slot and lie in the same way: one matrix. */
  private async addLinears(): Promise<void> {
    const first = this.following as Linear;
    const group = [first];
    for (this.at++; this.following?.kind === "linear"; this.at++) {
      const next = this.following;
      if (next.x !== first.x || next.activations !== first.activations) break;
      if (this.layoutKey(next.weight) !== this.layoutKey(first.weight)) break;
      const before = this.slots.view(group[group.length - 1].out);
      const own = this.slots.view(next.out);
      if (own.buffer !== before.buffer || own.at !== before.at + before.width) break;
      group.push(next);
    }
    let out = this.slots.view(first.out);
    let residual = false;
    const next = this.following;
    if (group.length === 1 && next?.kind === "add" && next.x === next.out && next.y === first.out) {
      this.at++;
      if (this.readers(first.out).length) this.at--;
      else {
        out = this.slots.view(next.out);
        residual = true;
        this.fresh.delete(next.out);
      }
    }
    const input = this.input(first.x, first.activations);
    const matrix = await this.loaded(group.map((linear) => linear.weight));
    const bias = await this.biases(group);
    const job = { matrix, ...input, out, residual, ...(bias && { bias }) };
    this.decode.push(...linearSteps(this.frame.state, job, this.tuning, "one"));
    this.prefill.push(...linearSteps(this.frame.state, job, this.tuning, "many"));
    for (const linear of group) this.fresh.delete(linear.out);
  }

  private layoutKey(weight: string): string {
    const { encoding, shape } = this.tensors.get(weight) as Described;
    return JSON.stringify(layoutOf(encoding, shape[1]));
  }

  private async biases(group: readonly Linear[]): Promise<GPUBuffer | undefined> {
    if (group.every((linear) => linear.bias === null)) return undefined;
    const parts: number[] = [];
    for (const linear of group) {
      const rows = (this.tensors.get(linear.weight) as Described).shape[0];
      parts.push(...(linear.bias === null ? new Float32Array(rows) : await this.loader.vector(linear.bias)));
    }
    return this.upload(Float32Array.from(parts), "biases");
  }

  /** The attention that the present operation prepares: norms and rotations of its q and k come before it. */
  private attentionAfter(): Attention | undefined {
    const { operations } = this.plan;
    let end = this.at;
    while (operations[end]?.kind === "norm" || operations[end]?.kind === "rope") end++;
    const attention = operations[end];
    if (attention?.kind !== "attention") return undefined;
    const before = operations.slice(this.at, end) as (Norm | Rope)[];
    const isItsOwn = before.every((one) => one.out === one.x && (one.out === attention.q || one.out === attention.k));
    return isItsOwn ? attention : undefined;
  }

  private async addAttention(attention: Attention): Promise<void> {
    const before: (Norm | Rope)[] = [];
    for (; this.following !== attention; this.at++) before.push(this.following as Norm | Rope);
    this.at++;
    const weights: HeadNorms = {};
    for (const one of before)
      if (one.kind === "norm") weights[one.x === attention.q ? "q_weight" : "k_weight"] = await this.vector(one.weight);
    const group = this.plan.caches[attention.cache];
    const steps = attentionSteps(this.frame.state, attention, before, weights, group, this.slots, this.kv);
    this.prefill.push(steps.heads, steps.many);
    this.decode.push(steps.heads, steps.one);
    this.parted.set(attention.out, steps.parted);
    for (const slot of [attention.out, attention.q, attention.k]) this.fresh.delete(slot);
  }

  private addHadamard(operation: Hadamard): void {
    this.at++;
    this.gather(operation.x);
    const [x, out] = [this.slots.view(operation.x), this.slots.view(operation.out)];
    const listed = operation.signs === null ? undefined : this.plan.signs[operation.signs];
    const signs = listed && this.upload(Float32Array.from(listed), "signs");
    this.add(hadamardStep(this.frame.state, operation, x, out, signs));
    this.fresh.delete(operation.out);
  }

  private async addHead(): Promise<void> {
    const { head, output, vocab_size } = this.plan;
    const input = this.input(output, head.activations);
    const matrix = await this.loaded([head.weight]);
    const out = { buffer: this.frame.logits, stride: vocab_size, at: 0, width: vocab_size };
    const job = { matrix, ...input, out, residual: false };
    this.head.push(...linearSteps(this.frame.state, job, this.tuning, "last"));
  }
}

/** A plan to the dispatches of a pass. Operations that follow each other share a dispatch where a kernel has parts for
 * both: a layer of BitNet takes ten. */

import { UnsupportedError } from "../errors.ts";
import type { Encoding } from "../files/encodings.ts";
import type { Attention, Hadamard, Linear, Norm, Operation, Plan, Rope } from "../model/plan.ts";
import { reads } from "../model/plan.ts";
import type { Gpu } from "./device.ts";
import type { Constants } from "./kernels.ts";
import type { KvCache } from "./kv.ts";
import { linearSteps } from "./linear.ts";
import { layoutOf } from "./repack.ts";
import { Slots, type View } from "./slots.ts";
import type { Step, Tuning } from "./step.ts";
import type { Loader, Matrix } from "./weights.ts";

/** The dispatches for several tokens and for one, and those of the head for the last token or for all of a pass. */
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

export interface Described {
  readonly shape: readonly number[];
  readonly encoding: Encoding;
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
        return this.addRow(operation.x, operation.out, {});
      case "gated":
        return this.addRow(operation.gate, operation.out, { up: operation.up, activation: operation.activation });
      case "hadamard":
        return this.addHadamard(operation);
      default:
        throw new UnsupportedError(`The browser's engine has no kernel for '${operation.kind}' at this place.`);
    }
  }

  private add(step: Step, both = true): void {
    this.decode.push(step);
    if (both) this.prefill.push(step);
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
    const { layout, columns, parts } = await this.loaded([weight]);
    if (layout.kind === "ternary")
      throw new UnsupportedError("An embedding in a ternary encoding does not run in a browser yet.");
    const view = this.slots.view(out);
    for (const part of parts) {
      const constants: Constants = {
        ...outOf(view),
        COLUMNS: columns,
        ROWS: part.rows,
        FIRST_ROW: part.firstRow,
        FACTOR: factor,
        GROUP: layout.group,
        [layout.kind.toUpperCase()]: true,
      };
      const { state, tokens } = this.frame;
      const buffers = { state, tokens, weights: part.words, out: view.buffer, scales: part.scales };
      this.add({ kernel: "embed", constants, buffers: () => buffers, groups: (n) => [Math.ceil(columns / 64), n] });
    }
    this.fresh.delete(out);
  }

  /** An operation on whole rows with the norm, or a norm with the sum, that follows it. */
  private async addRow(x: string, out: string, gate: { up?: string; activation?: string }): Promise<void> {
    const first = this.following as Operation;
    this.at++;
    let norm = first.kind === "norm" ? first : undefined;
    const next = this.following;
    if (!norm && next?.kind === "norm" && next.heads === 1 && next.x === out && next.out === out) {
      norm = next;
      this.at++;
    } else if (norm && next?.kind === "add" && next.out === next.x && next.y === out && next.x !== out) {
      this.at++;
      if (!this.readers(out).length) return this.normAdd(x, next.out, norm);
      this.at--;
    }
    await this.row(x, out, { ...gate, ...(norm && { norm }) });
  }

  private async row(
    x: string,
    out: string,
    parts: { up?: string; activation?: string; norm?: Norm; quantize?: "int8" | "int15" },
  ): Promise<void> {
    const from = this.slots.view(x);
    const to = this.slots.view(out);
    const quantize = parts.quantize ?? this.wanted(out);
    // A row may lie where it is read, or, gated, in place of the gate: a thread then writes what it alone has read.
    const inPlace = from.buffer === to.buffer;
    const constants: Constants = {
      ...outOf(to),
      COLUMNS: from.width,
      X_STRIDE: from.stride,
      X_AT: from.at,
      HAS_INPUT: !inPlace,
      IN_PLACE: inPlace && !parts.up,
      PLAIN: !inPlace && !parts.up,
      ...(parts.up && { GATED: true, UP_AT: this.slots.view(parts.up).at }),
      ...(parts.activation && { [parts.activation.toUpperCase()]: true }),
      ...(parts.norm && { NORM: true, EPS: parts.norm.eps }),
      ...(quantize && this.quantization(out, quantize)),
    };
    const form = quantize && this.slots.quantized(out, quantize);
    const weight = parts.norm && (await this.vector(parts.norm.weight));
    const buffers = {
      out: to.buffer,
      x: from.buffer,
      ...(weight && { weight }),
      ...(form && { codes: form.codes, info: form.info }),
    };
    this.add({ kernel: "row", constants, buffers: () => buffers, groups: (n) => [n, 1] });
    this.fresh.delete(out);
    if (quantize) this.fresh.set(out, quantize);
  }

  /** `out += norm(x)`; nothing reads x afterwards. */
  private async normAdd(x: string, out: string, norm: Norm): Promise<void> {
    const [from, to] = [this.slots.view(x), this.slots.view(out)];
    const weight = await this.vector(norm.weight);
    const constants: Constants = {
      ...outOf(to),
      COLUMNS: from.width,
      X_STRIDE: from.stride,
      X_AT: from.at,
      EPS: norm.eps,
    };
    const buffers = { x: from.buffer, out: to.buffer, weight };
    this.add({ kernel: "norm_add", constants, buffers: () => buffers, groups: (n) => [n, 1] });
    this.fresh.delete(out);
  }

  private quantization(slot: string, kind: "int8" | "int15"): Constants {
    const { padded } = this.slots.quantized(slot, kind);
    const limits =
      kind === "int8" ? { LIMIT: 127, LEAST: -128, PLANES: 1 } : { LIMIT: 16256, LEAST: -16256, PLANES: 2 };
    return { QUANTIZE: true, [kind.toUpperCase()]: true, PADDED: padded, ...limits };
  }

  /** The whole numbers of a slot, made now where no row kernel has made them. */
  private async ensureQuantized(slot: string, kind: "int8" | "int15"): Promise<void> {
    if (this.fresh.get(slot) !== kind) await this.row(slot, slot, { quantize: kind });
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
    const { activations } = first;
    if (activations !== "none") await this.ensureQuantized(first.x, activations);
    const matrix = await this.loaded(group.map((linear) => linear.weight));
    const bias = await this.biases(group);
    const job = { matrix, x: this.slots.view(first.x), out, residual, ...(bias && { bias }) };
    const form = activations === "none" ? undefined : this.slots.quantized(first.x, activations);
    this.decode.push(...linearSteps(this.frame.state, { ...job, ...(form && { form }) }, this.tuning, "one"));
    this.prefill.push(...linearSteps(this.frame.state, { ...job, ...(form && { form }) }, this.tuning, "many"));
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
    const [q, k, v] = [attention.q, attention.k, attention.v].map((name) => this.slots.view(name));
    const ropes = before.filter((one) => one.kind === "rope");
    const norms = before.filter((one) => one.kind === "norm");
    const rope = ropes[0];
    if (ropes.length !== 2 || norms.length % 2 || q.buffer !== k.buffer || q.buffer !== v.buffer)
      throw new UnsupportedError("The attention of this plan is none that the browser's engine computes.");
    const group = this.plan.caches[attention.cache];
    const shape: Constants = {
      HEADS: attention.heads,
      KV_HEADS: group.kv_heads,
      HEAD_DIM: group.head_dim,
      KV_WORDS: this.kv.words(attention.cache),
      INT8_KV: this.kv.type === "int8",
    };
    const constants: Constants = {
      ...shape,
      STRIDE: q.stride,
      Q_AT: q.at,
      K_AT: k.at,
      V_AT: v.at,
      INTERLEAVED: rope.style === "interleaved",
      ...(norms.length && { NORM: true, EPS: norms[0].eps }),
    };
    const weights: Record<string, GPUBuffer> = {};
    for (const norm of norms)
      weights[norm.x === attention.q ? "q_weight" : "k_weight"] = await this.vector(norm.weight);
    const cached = () => ({
      state: this.frame.state,
      keys: this.kv.buffer(attention.cache, attention.layer, "keys"),
      values: this.kv.buffer(attention.cache, attention.layer, "values"),
    });
    this.add({
      kernel: "heads",
      constants,
      buffers: () => ({ ...cached(), ...weights, qkv: q.buffer, turns: this.kv.turns(rope.frequencies) }),
      groups: (n) => [attention.heads + 2 * group.kv_heads, n],
    });
    const out = this.slots.view(attention.out);
    const how: Constants = {
      ...shape,
      ...outOf(out),
      Q_STRIDE: q.stride,
      Q_AT: q.at,
      SCALE: attention.scale,
      WINDOW: group.window ?? 0,
    };
    this.add({
      kernel: "attention",
      constants: how,
      buffers: () => ({ ...cached(), q: q.buffer, out: out.buffer }),
      groups: (n) => [attention.heads, n],
    });
    for (const slot of [attention.out, attention.q, attention.k]) this.fresh.delete(slot);
  }

  private addHadamard(operation: Hadamard): void {
    this.at++;
    const [from, to] = [this.slots.view(operation.x), this.slots.view(operation.out)];
    const inPlace = from.buffer === to.buffer;
    const signs = operation.signs === null ? undefined : this.plan.signs[operation.signs];
    const constants: Constants = {
      ...outOf(to),
      X_STRIDE: from.stride,
      X_AT: from.at,
      BLOCK: operation.block,
      NORMALIZER: operation.block ** -0.5,
      HAS_INPUT: !inPlace,
      SIGNS: signs !== undefined,
      FORWARD: operation.direction === "forward",
      INVERSE: operation.direction === "inverse",
    };
    const list = signs && this.upload(Float32Array.from(signs), "signs");
    const buffers = { state: this.frame.state, out: to.buffer, x: from.buffer, ...(list && { signs: list }) };
    const blocks = from.width / operation.block;
    this.add({ kernel: "hadamard", constants, buffers: () => buffers, groups: (n) => [blocks, n] });
    this.fresh.delete(operation.out);
  }

  private async addHead(): Promise<void> {
    const { head, output, vocab_size } = this.plan;
    if (head.activations !== "none") await this.ensureQuantized(output, head.activations);
    const matrix = await this.loaded([head.weight]);
    const form = head.activations === "none" ? undefined : this.slots.quantized(output, head.activations);
    const out = { buffer: this.frame.logits, stride: vocab_size, at: 0, width: vocab_size };
    const job = { matrix, x: this.slots.view(output), out, residual: false, ...(form && { form }) };
    this.head.push(...linearSteps(this.frame.state, job, this.tuning, "last"));
  }
}

function outOf(view: View): Constants {
  return { OUT_STRIDE: view.stride, OUT_AT: view.at };
}

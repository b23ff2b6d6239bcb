/** The dispatches of operations on whole rows: one row, or one block of it, is a workgroup's. */

import type { Activation, Hadamard } from "../model/plan.ts";
import type { Constants } from "./kernels.ts";
import type { Quantized, View } from "./slots.ts";
import type { Step } from "./step.ts";
import type { Matrix } from "./weights.ts";

/** A norm's weights on the GPU. */
export interface NormWeight {
  weight: GPUBuffer;
  eps: number;
}

/** What an attention of one token leaves: sums over runs of positions, which whoever reads them adds. */
export interface Parted {
  state: GPUBuffer;
  /** Asked for again when the cache has grown. */
  buffer(): GPUBuffer;
  constants: Constants;
}

/** What the row kernel does beside copying, in this order. */
export interface RowParts {
  /** x is not in its slot, but in parts. */
  parted?: Parted;
  /** x is a gate: activated, and multiplied with `up`. */
  gate?: { up: View; activation: Activation };
  norm?: NormWeight;
  quantize?: Quantized;
}

/** `factor` times rows of the embedding, one dispatch for each part of the matrix. */
export function embedSteps(state: GPUBuffer, tokens: GPUBuffer, matrix: Matrix, factor: number, out: View): Step[] {
  const { layout, columns, parts } = matrix;
  return parts.map((part) => {
    const constants: Constants = {
      ...outOf(out),
      COLUMNS: columns,
      ROWS: part.rows,
      FIRST_ROW: part.firstRow,
      FACTOR: factor,
      GROUP: layout.group,
      [layout.kind.toUpperCase()]: true,
    };
    const buffers = { state, tokens, weights: part.words, out: out.buffer, scales: part.scales };
    return { kernel: "embed", constants, buffers: () => buffers, groups: (n) => [Math.ceil(columns / 64), n] };
  });
}

/** `out = x` with the parts that are given. A row may lie where it is read, or, gated, in place of the gate: a thread
 * then writes what it alone has read. */
export function rowStep(x: View, out: View, threads: number, { parted, gate, norm, quantize }: RowParts): Step {
  const inPlace = x.buffer === out.buffer && !parted;
  const constants: Constants = {
    ...outOf(out),
    ...inputOf(x),
    THREADS: threads,
    COLUMNS: x.width,
    HAS_INPUT: !inPlace,
    IN_PLACE: inPlace && !gate,
    PLAIN: !inPlace && !gate && !parted,
    ...(parted && { PARTED: true, ...parted.constants }),
    ...(gate && { GATED: true, UP_AT: gate.up.at, [gate.activation.toUpperCase()]: true }),
    ...(norm && { NORM: true, EPS: norm.eps }),
    ...(quantize && quantization(quantize)),
  };
  const buffers = {
    out: out.buffer,
    x: x.buffer,
    ...(norm && { weight: norm.weight }),
    ...(quantize && { codes: quantize.codes, info: quantize.info }),
  };
  const all = parted ? () => ({ ...buffers, state: parted.state, x: parted.buffer() }) : () => buffers;
  return { kernel: "row", constants, buffers: all, groups: (n) => [n, 1] };
}

function quantization({ activations, padded }: Quantized): Constants {
  const limits =
    activations === "int8" ? { LIMIT: 127, LEAST: -128, PLANES: 1 } : { LIMIT: 16256, LEAST: -16256, PLANES: 2 };
  return { QUANTIZE: true, [activations.toUpperCase()]: true, PADDED: padded, ...limits };
}

/** `out += norm(x)`. */
export function normAddStep(x: View, out: View, threads: number, { weight, eps }: NormWeight): Step {
  const constants: Constants = { ...outOf(out), ...inputOf(x), THREADS: threads, COLUMNS: x.width, EPS: eps };
  const buffers = { x: x.buffer, out: out.buffer, weight };
  return { kernel: "norm_add", constants, buffers: () => buffers, groups: (n) => [n, 1] };
}

/** `out` = the blocks of x rotated. `signs`: 1 or -1 for each column, where the rotation has any. */
export function hadamardStep(
  state: GPUBuffer,
  { block, direction }: Hadamard,
  x: View,
  out: View,
  signs: GPUBuffer | undefined,
): Step {
  const constants: Constants = {
    ...outOf(out),
    ...inputOf(x),
    BLOCK: block,
    NORMALIZER: block ** -0.5,
    HAS_INPUT: x.buffer !== out.buffer,
    SIGNS: signs !== undefined,
    FORWARD: direction === "forward",
    INVERSE: direction === "inverse",
  };
  const buffers = { state, out: out.buffer, x: x.buffer, ...(signs && { signs }) };
  return { kernel: "hadamard", constants, buffers: () => buffers, groups: (n) => [x.width / block, n] };
}

function outOf(view: View): Constants {
  return { OUT_STRIDE: view.stride, OUT_AT: view.at };
}

function inputOf(view: View): Constants {
  return { X_STRIDE: view.stride, X_AT: view.at };
}

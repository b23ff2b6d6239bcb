import { UnsupportedError } from "../errors.ts";
import type { Constants } from "./kernels.ts";
import type { Quantized, View } from "./slots.ts";
import type { Step, Tuning } from "./step.ts";
import type { Matrix } from "./weights.ts";

/** A multiplication: what a matrix reads and writes. */
export interface Job {
  matrix: Matrix;
  /** The input's rows, and, for matrices of whole numbers, their whole numbers. */
  x: View;
  form?: Quantized;
  out: View;
  /** The result is added to what `out` has. */
  residual: boolean;
  bias?: GPUBuffer;
}

/** One token, several, or the last of a pass, whose result is the first row of `out`. */
export type Tokens = "one" | "many" | "last";

const THREADS = 64;
/** Rows and tokens that a thread computes of a ternary matrix where there are several tokens. */
const TILE = 4;
/** Workgroups of a dispatch in one dimension, which every GPU can do (WebGPU's default limit). */
export const MOST_GROUPS = 65535;

/** The dispatches of a multiplication, one for each part of the matrix. */
export function linearSteps(state: GPUBuffer, job: Job, tuning: Tuning, tokens: Tokens): Step[] {
  const { matrix, x, form, out, residual, bias } = job;
  const { kind } = matrix.layout;
  const isFloat = kind === "f16" || kind === "f32";
  if (isFloat === Boolean(form))
    throw new UnsupportedError(`A matrix in ${kind} is multiplied with other activations.`);
  if (bias && matrix.parts.length > 1) throw new UnsupportedError("A matrix with a bias is larger than a buffer.");
  const tiled = tokens === "many" && kind === "ternary";
  return matrix.parts.map((part) => {
    // Of a vocabulary's many rows fewer threads share each, so that there are not too many workgroups.
    let { lanes } = tuning;
    while (lanes > 1 && Math.ceil((part.rows * lanes) / THREADS) > MOST_GROUPS) lanes /= 2;
    const subgroups = tuning.subgroups && kind === "ternary" && !tiled && lanes === tuning.lanes;
    const constants: Constants = {
      COLUMNS: matrix.layout.columns,
      ROWS: part.rows,
      FIRST_ROW: part.firstRow,
      OUT_STRIDE: out.stride,
      OUT_AT: out.at,
      X_STRIDE: x.stride,
      X_AT: x.at,
      LANES: lanes,
      SHARED: lanes > 1 && !subgroups,
      SUBGROUPS: subgroups,
      LAST: tokens === "last",
      RESIDUAL: residual,
      BIAS: bias !== undefined,
      ...(isFloat ? { [kind.toUpperCase()]: true } : whole(matrix, form as Quantized)),
    };
    const buffers = {
      state,
      weights: part.words,
      scales: part.scales,
      out: out.buffer,
      x: x.buffer,
      ...(form && { codes: form.codes, info: form.info }),
      ...(bias && { bias }),
    };
    const rows = tiled ? THREADS * TILE : THREADS / lanes;
    const groups = (n: number): [number, number] => [
      Math.ceil(part.rows / rows),
      tokens === "last" ? 1 : tiled ? Math.ceil(n / TILE) : n,
    ];
    const kernel = isFloat ? "linear_float" : tiled ? "linear_ternary_tile" : `linear_${kind}`;
    return { kernel, constants, ...(!isFloat && { dot: tuning.dot }), buffers: () => buffers, groups };
  });
}

/** The constants of a matrix of whole numbers. */
function whole({ layout }: Matrix, form: Quantized): Constants {
  const { group } = layout;
  return {
    PLANES: form.activations === "int15" ? 2 : 1,
    INT15: form.activations === "int15",
    PADDED: form.padded,
    GROUPED: group > 0,
    GROUP: group || layout.columns,
    // Parts of a block of 128 columns with a scale of their own.
    PARTS: group > 0 && group < 128 ? 128 / group : 1,
  };
}

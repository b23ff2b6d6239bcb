import { FormatError } from "../errors.ts";

/** How activations are quantised for a matrix in an encoding; `model/operations.py` of the Python package says how. */
export type Activations = "none" | "int8" | "int15";

/** How the bytes of a tensor encode its values: the rows of `tensor/encodings.py` that this engine reads. */
export interface Encoding {
  readonly name: string;
  /** Weights in a block, and the block's bytes. */
  readonly block: number;
  readonly blockBytes: number;
  /** What the matrix is multiplied with. */
  readonly activations: Activations;
  readonly ternary: boolean;
}

function encoding(
  name: string,
  block: number,
  blockBytes: number,
  activations: Activations,
  ternary = false,
): Encoding {
  return { name, block, blockBytes, activations, ternary };
}

export const ENCODINGS = {
  f32: encoding("f32", 1, 4, "none"),
  f16: encoding("f16", 1, 2, "none"),
  bf16: encoding("bf16", 1, 2, "none"),
  q4_0: encoding("q4_0", 32, 18, "int15"),
  q8_0: encoding("q8_0", 32, 34, "int15"),
  q6_k: encoding("q6_k", 256, 210, "int15"),
  i2_s: encoding("i2_s", 128, 32, "int8", true),
  tq1_0: encoding("tq1_0", 256, 54, "int8", true),
  tq2_0: encoding("tq2_0", 256, 66, "int8", true),
  q2_0: encoding("q2_0", 64, 18, "int15", true),
  pq2_0: encoding("pq2_0", 128, 34, "int15", true),
  ptq1_0: encoding("ptq1_0", 128, 28, "int15", true),
  q1_0: encoding("q1_0", 128, 18, "int15", true),
} as const satisfies Record<string, Encoding>;

export type EncodingName = keyof typeof ENCODINGS;

/** By GGUF's number of the tensor type. */
const BY_TYPE: Record<number, Encoding> = {
  0: ENCODINGS.f32,
  1: ENCODINGS.f16,
  2: ENCODINGS.q4_0,
  8: ENCODINGS.q8_0,
  14: ENCODINGS.q6_k,
  30: ENCODINGS.bf16,
  34: ENCODINGS.tq1_0,
  35: ENCODINGS.tq2_0,
  36: ENCODINGS.i2_s,
  41: ENCODINGS.q1_0,
  142: ENCODINGS.pq2_0,
  143: ENCODINGS.ptq1_0,
};

/** Number 42 is Q2_0 in blocks of 64; older files of PrismML's fork mean blocks of 128, and others other types. */
const TYPE_42 = [ENCODINGS.q2_0, ENCODINGS.pq2_0];

/** Bytes of a tensor's weights, without the one scale of an I2_S tensor. `shape` is [rows, columns] or [n]. */
export function dataBytes(encoding: Encoding, shape: readonly number[]): number {
  const count = shape.reduce((a, b) => a * b, 1);
  const filled = encoding.name === "i2_s" ? count : shape[shape.length - 1];
  if (filled % encoding.block)
    throw new FormatError(
      `${encoding.name} keeps blocks of ${encoding.block} weights, which [${shape}] does not fill.`,
    );
  return (count / encoding.block) * encoding.blockBytes;
}

/** The encoding of a GGUF type; `room`: bytes up to the next tensor. Undefined for one that this engine does not read. */
export function encodingOfType(type: number, shape: readonly number[], room: number, alignment: number) {
  if (type !== 42) return BY_TYPE[type];
  return TYPE_42.find(
    (kind) => shape[shape.length - 1] % kind.block === 0 && padded(dataBytes(kind, shape), alignment) === room,
  );
}

export function padded(size: number, alignment: number): number {
  return Math.ceil(size / alignment) * alignment;
}

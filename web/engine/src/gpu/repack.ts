/** Rows of a matrix as they lie in a file, to those that the kernels read. */

import { UnsupportedError } from "../errors.ts";
import type { Encoding } from "../files/encodings.ts";

/** How a matrix lies on the GPU. */
export interface Layout {
  kind: "ternary" | "bytes" | "f16" | "f32";
  /** Columns of a row on the GPU: those of the matrix, in whole blocks. */
  columns: number;
  /** Columns that share a scale; 0: the whole row does, and float matrices have none. */
  group: number;
}

export interface Packed {
  words: Uint32Array;
  scales: Float32Array;
}

export function layoutOf(encoding: Encoding, columns: number): Layout {
  const whole = (block: number) => Math.ceil(columns / block) * block;
  if (columns % 4) throw new UnsupportedError(`A matrix has ${columns} columns, no multiple of 4.`);
  switch (encoding.name) {
    case "f32":
    case "bf16":
      return { kind: "f32", columns, group: 0 };
    case "f16":
      return { kind: "f16", columns, group: 0 };
    case "q8_0":
    case "q4_0":
      return { kind: "bytes", columns, group: 32 };
    case "q6_k":
      return { kind: "bytes", columns, group: 16 };
    case "i2_s":
      return { kind: "ternary", columns: whole(128), group: 0 };
    default:
      return { kind: "ternary", columns: whole(128), group: encoding.block };
  }
}

/** How many rows at a time are whole blocks in the file (I2_S blocks run over the ends of rows). */
export function rowsTogether(encoding: Encoding, columns: number): number {
  let [a, b] = [columns, encoding.block];
  while (b) [a, b] = [b, a % b];
  return encoding.block / a;
}

export function wordsOfRow(layout: Layout): number {
  return layout.columns / { ternary: 16, bytes: 4, f16: 2, f32: 1 }[layout.kind];
}

export function scalesOfRow(layout: Layout): number {
  if (layout.kind === "f16" || layout.kind === "f32") return 0;
  return layout.group ? layout.columns / layout.group : 1;
}

/** `count` rows of `columns` columns. `scale` is that of an I2_S matrix. */
export function repack(encoding: Encoding, data: Uint8Array, count: number, columns: number, scale: number): Packed {
  const layout = layoutOf(encoding, columns);
  const blocks = (count * columns) / encoding.block;
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  const none = new Float32Array(0);
  switch (encoding.name) {
    case "f32":
    case "f16":
      return { words: words(data), scales: none };
    case "bf16":
      return { words: Uint32Array.from({ length: blocks }, (_, i) => view.getUint16(2 * i, true) << 16), scales: none };
    case "i2_s": {
      const scales = new Float32Array(count).fill(scale);
      if (columns === layout.columns) return { words: valid(words(data)), scales };
      const fields = new Uint8Array(count * columns);
      for (let i = 0; i < fields.length; i++)
        fields[i] = (data[(i >> 7) * 32 + (i & 31)] >> (6 - 2 * ((i >> 5) & 3))) & 3;
      return { words: valid(packFields(fields, count, columns, layout.columns)), scales };
    }
    case "q8_0":
    case "q4_0":
    case "q6_k":
      return repackBytes(encoding, view, blocks);
    default: {
      const fields = new Uint8Array(count * columns);
      const scales = new Float32Array(blocks);
      for (let b = 0; b < blocks; b++) scales[b] = UNPACK[encoding.name](view, b * encoding.blockBytes, fields, b);
      const packed = packFields(fields, count, columns, layout.columns);
      return { words: encoding.name === "tq2_0" ? valid(packed) : packed, scales: padded(scales, count, layout) };
    }
  }
}

/** Scales of rows of whole groups. */
function padded(scales: Float32Array, count: number, layout: Layout): Float32Array {
  const [own, row] = [scales.length / count, scalesOfRow(layout)];
  if (own === row) return scales;
  const wide = new Float32Array(count * row);
  for (let r = 0; r < count; r++) wide.set(scales.subarray(r * own, (r + 1) * own), r * row);
  return wide;
}

function words(data: Uint8Array): Uint32Array {
  const aligned = data.byteOffset % 4 === 0 && data.byteLength % 4 === 0;
  if (aligned) return new Uint32Array(data.buffer, data.byteOffset, data.byteLength / 4);
  const copy = new Uint8Array(Math.ceil(data.length / 4) * 4);
  copy.set(data);
  return new Uint32Array(copy.buffer);
}

/** The invalid field 3 reads as the weight 0, as in the engines that write these files. */
function valid(packed: Uint32Array): Uint32Array {
  const result = new Uint32Array(packed.length);
  for (let i = 0; i < packed.length; i++) {
    const threes = packed[i] & (packed[i] >>> 1) & 0x55555555;
    result[i] = packed[i] ^ (threes << 1);
  }
  return result;
}

/** Fields (weight + 1) in I2_S blocks; columns that pad a row have the weight 0. */
function packFields(fields: Uint8Array, count: number, columns: number, wide: number): Uint32Array {
  const bytes = new Uint8Array((count * wide) / 4).fill(0b01010101);
  for (let r = 0; r < count; r++)
    for (let c = 0; c < columns; c++) {
      const at = r * (wide / 4) + (c >> 7) * 32 + (c & 31);
      const shift = 6 - 2 * ((c >> 5) & 3);
      bytes[at] = (bytes[at] & ~(3 << shift)) | (fields[r * columns + c] << shift);
    }
  return new Uint32Array(bytes.buffer);
}

/** Writes the fields of block `b`, whose bytes begin at `at`; returns the block's scale. */
type Unpack = (view: DataView, at: number, fields: Uint8Array, b: number) => number;

/** Digits in base 3: parts of `size` bytes with `count` fields each (`ternary/tq.py`). */
function trits(block: number, parts: readonly [number, number][]): Unpack {
  const powers = [1, 3, 9, 27, 81];
  return (view, at, fields, b) => {
    let place = b * block;
    let byte = at;
    for (const [size, count] of parts) {
      for (let n = 0; n < count; n++)
        for (let i = 0; i < size; i++) fields[place++] = (((view.getUint8(byte + i) * powers[n]) & 255) * 3) >> 8;
      byte += size;
    }
    return half(view.getUint16(byte, true));
  };
}

/** A scale, then fields of `bits` bits, the first in the lowest (`ternary/group_scaled.py`). */
function lowFirst(block: number, bits: 1 | 2): Unpack {
  return (view, at, fields, b) => {
    for (let i = 0; i < block; i++) {
      const field = (view.getUint8(at + 2 + ((i * bits) >> 3)) >> ((i * bits) & 7)) & ((1 << bits) - 1);
      fields[b * block + i] = bits === 1 ? 2 * field : field;
    }
    return half(view.getUint16(at, true));
  };
}

const UNPACK: Record<string, Unpack> = {
  tq1_0: trits(256, [
    [32, 5],
    [16, 5],
    [4, 4],
  ]),
  ptq1_0: trits(128, [
    [16, 5],
    [8, 5],
    [2, 4],
  ]),
  tq2_0: (view, at, fields, b) => {
    for (let i = 0; i < 256; i++) {
      const byte = view.getUint8(at + (i >> 7) * 32 + (i & 31));
      fields[b * 256 + i] = (byte >> (2 * ((i >> 5) & 3))) & 3;
    }
    return half(view.getUint16(at + 64, true));
  },
  q2_0: lowFirst(64, 2),
  pq2_0: lowFirst(128, 2),
  q1_0: lowFirst(128, 1),
};

/** Q8_0, Q4_0 and Q6_K (`ternary/blocks.py`) as signed bytes with float32 scales. */
function repackBytes(encoding: Encoding, view: DataView, blocks: number): Packed {
  const codes = new Int8Array(blocks * encoding.block);
  const scales = new Float32Array(encoding.name === "q6_k" ? blocks * 16 : blocks);
  for (let b = 0; b < blocks; b++) {
    const at = b * encoding.blockBytes;
    const to = b * encoding.block;
    if (encoding.name === "q8_0") {
      scales[b] = half(view.getUint16(at, true));
      for (let i = 0; i < 32; i++) codes[to + i] = view.getInt8(at + 2 + i);
    } else if (encoding.name === "q4_0") {
      scales[b] = half(view.getUint16(at, true));
      for (let i = 0; i < 16; i++) {
        const byte = view.getUint8(at + 2 + i);
        codes[to + i] = (byte & 15) - 8;
        codes[to + 16 + i] = (byte >> 4) - 8;
      }
    } else {
      const d = half(view.getUint16(at + 208, true));
      for (let group = 0; group < 16; group++) scales[b * 16 + group] = d * view.getInt8(at + 192 + group);
      for (let i = 0; i < 256; i++) {
        const [side, k, j] = [i >> 7, (i >> 5) & 3, i & 31];
        const low = view.getUint8(at + side * 64 + 32 * (k & 1) + j) >> (4 * (k >> 1));
        const high = view.getUint8(at + 128 + side * 32 + j) >> (2 * k);
        codes[to + i] = ((low & 15) | ((high & 3) << 4)) - 32;
      }
    }
  }
  return { words: new Uint32Array(codes.buffer), scales };
}

/** The number of a float16's bits. */
export function half(bits: number): number {
  const [sign, exponent, fraction] = [bits >> 15 ? -1 : 1, (bits >> 10) & 31, bits & 1023];
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction ? Number.NaN : sign * Number.POSITIVE_INFINITY;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

/** GGUF reader (versions 2 and 3, ggml `docs/gguf.md`): every count, offset, size and type is bounded before use. */

import { FormatError, UnsupportedError } from "../errors.ts";
import { dataBytes, type Encoding, encodingOfType, padded } from "./encodings.ts";
import type { ByteSource } from "./source.ts";

export type Value = number | boolean | string | string[] | NumberArray;
export type NumberArray = Exclude<ArrayLike<number>, string> & { readonly length: number };
export type Metadata = ReadonlyMap<string, Value>;

/** A tensor's place in the file. */
export interface TensorInfo {
  readonly name: string;
  /** [rows, columns], or [n]. */
  readonly shape: readonly number[];
  readonly encoding: Encoding;
  /** First byte in the file, and how many bytes its weights take. */
  readonly offset: number;
  readonly bytes: number;
}

export interface GGUF {
  readonly metadata: Metadata;
  readonly tensors: ReadonlyMap<string, TensorInfo>;
  /** Type numbers of tensors in encodings that this engine does not read. */
  readonly unsupported: ReadonlyMap<string, number>;
}

const MAX_KEYS = 1 << 16;
const MAX_TENSORS = 1 << 17;
const MAX_NAME_BYTES = 1 << 10;
const MAX_STRINGS = 1 << 21;
const MAX_HEADER_BYTES = 1 << 26;
const MAX_ALIGNMENT = 1 << 20;
const MAX_WEIGHTS = 2 ** 44;
/** Behind the codes of an I2_S tensor: its float32 scale, and 28 bytes without meaning. */
export const I2_S_TAIL = 32;
const FIRST_READ = 1 << 20;

/** Reads the header in growing parts, so a vocabulary of several MB costs a few requests and the weights none. */
export async function readGGUF(source: ByteSource, signal?: AbortSignal): Promise<GGUF> {
  if (source.size < 24) throw new FormatError(`${source.name} is too short to be a GGUF file.`);
  let header = new Uint8Array(0);
  for (let size = FIRST_READ; ; size *= 4) {
    const end = Math.min(size, source.size, MAX_HEADER_BYTES);
    const more = await source.read(header.length, end, signal);
    const joined = new Uint8Array(end);
    joined.set(header);
    joined.set(more, header.length);
    header = joined;
    try {
      return parse(new Cursor(header), source.size);
    } catch (error) {
      if (error instanceof EndsEarly) {
        if (end < Math.min(source.size, MAX_HEADER_BYTES)) continue;
        throw new FormatError(`${source.name} is no valid GGUF file: its header ends early.`);
      }
      if (error instanceof FormatError) throw new FormatError(`${source.name} is no valid GGUF file: ${error.message}`);
      throw error;
    }
  }
}

/** The header goes on past the bytes that are there. */
class EndsEarly extends Error {}

interface Entry {
  name: string;
  shape: number[];
  type: number;
  offset: number;
}

function parse(cursor: Cursor, fileSize: number): GGUF {
  if (cursor.u32() !== 0x46554747) throw new FormatError("it does not begin with the letters GGUF.");
  const version = cursor.u32();
  if (version !== 2 && version !== 3) throw new UnsupportedError(`GGUF version ${version} is not 2 or 3.`);
  const tensorCount = cursor.count("tensors", MAX_TENSORS);
  const keyCount = cursor.count("metadata keys", MAX_KEYS);
  const metadata = new Map<string, Value>();
  for (let i = 0; i < keyCount; i++) {
    const key = cursor.name();
    if (metadata.has(key)) throw new FormatError(`the metadata key '${key}' occurs twice.`);
    metadata.set(key, cursor.value(cursor.u32(), key));
  }
  const entries = Array.from({ length: tensorCount }, () => cursor.entry());
  if (new Set(entries.map((entry) => entry.name)).size !== tensorCount)
    throw new FormatError("two of its tensors have the same name.");
  if (metadata.has("split.count") && Number(metadata.get("split.count")) > 1)
    throw new UnsupportedError("A model that is split into several files is not read here: merge its parts first.");
  const alignment = metadata.get("general.alignment") ?? 32;
  if (typeof alignment !== "number" || alignment < 8 || alignment > MAX_ALIGNMENT || alignment & (alignment - 1))
    throw new FormatError("its alignment is not a power of two from 8 on.");
  return { metadata, ...place(entries, padded(cursor.position, alignment), alignment, fileSize) };
}

/** Where the tensors lie, none past the file's end and none over another. */
function place(entries: Entry[], start: number, alignment: number, fileSize: number) {
  const tensors = new Map<string, TensorInfo>();
  const unsupported = new Map<string, number>();
  const offsets = [...new Set(entries.map((entry) => entry.offset))].sort((a, b) => a - b);
  const next = new Map(offsets.map((offset, index) => [offset, offsets[index + 1]]));
  const spans: [number, number, string][] = [];
  for (const { name, shape, type, offset } of entries) {
    const room = (next.get(offset) ?? padded(fileSize - start, alignment)) - offset;
    const encoding = encodingOfType(type, shape, room, alignment);
    const bytes = encoding ? dataBytes(encoding, shape) : 1;
    const end = offset + bytes + (encoding?.name === "i2_s" ? I2_S_TAIL : 0);
    if (offset % alignment) throw new FormatError(`the tensor '${name}' does not lie on a multiple of ${alignment}.`);
    if (start + end > fileSize)
      throw new FormatError(`the tensor '${name}' reaches past the end of the file (a broken download?).`);
    spans.push([offset, end, name]);
    if (encoding) tensors.set(name, { name, shape, encoding, offset: start + offset, bytes });
    else unsupported.set(name, type);
  }
  spans.sort((a, b) => a[0] - b[0] || a[1] - b[1]);
  for (let i = 1; i < spans.length; i++)
    if (spans[i][0] < spans[i - 1][1])
      throw new FormatError(`the tensors '${spans[i - 1][2]}' and '${spans[i][2]}' overlap.`);
  return { tensors, unsupported };
}

const STRING = 8;
const ARRAY = 9;

/** Scalar types: bytes of one, and how a vector of them is read from a copy of the bytes. */
const SCALARS: Record<number, [number, (bytes: ArrayBuffer) => NumberArray]> = {
  0: [1, (bytes) => new Uint8Array(bytes)],
  1: [1, (bytes) => new Int8Array(bytes)],
  2: [2, (bytes) => new Uint16Array(bytes)],
  3: [2, (bytes) => new Int16Array(bytes)],
  4: [4, (bytes) => new Uint32Array(bytes)],
  5: [4, (bytes) => new Int32Array(bytes)],
  6: [4, (bytes) => new Float32Array(bytes)],
  7: [1, (bytes) => new Uint8Array(bytes)],
  10: [8, (bytes) => Array.from(new BigUint64Array(bytes), Number)],
  11: [8, (bytes) => Array.from(new BigInt64Array(bytes), Number)],
  12: [8, (bytes) => new Float64Array(bytes)],
};
const BOOL = 7;

/** A position in the header that never moves past its end. */
class Cursor {
  position = 0;
  private stringsLeft = MAX_STRINGS;
  private readonly view: DataView;
  // A byte order mark is a part of a token like any other character.
  private readonly text = new TextDecoder("utf-8", { ignoreBOM: true });
  private readonly strictText = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

  constructor(private readonly bytes: Uint8Array) {
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  }

  private advance(size: number): number {
    const start = this.position;
    if (size > this.bytes.length - start) throw new EndsEarly();
    this.position = start + size;
    return start;
  }

  u32(): number {
    return this.view.getUint32(this.advance(4), true);
  }

  /** A whole number of 64 bits; those from 2^53 on are beyond every limit, rounded or not. */
  u64(): number {
    return Number(this.view.getBigUint64(this.advance(8), true));
  }

  count(what: string, most: number): number {
    const count = this.u64();
    if (count > most) throw new FormatError(`it claims ${count} ${what}.`);
    return count;
  }

  name(): string {
    const size = this.u64();
    if (size > MAX_NAME_BYTES) throw new FormatError(`a name in it claims ${size} bytes.`);
    const start = this.advance(size);
    try {
      return this.strictText.decode(this.bytes.subarray(start, this.position));
    } catch {
      throw new FormatError("a name in it is not UTF-8.");
    }
  }

  value(type: number, key: string): Value {
    if (type === STRING) return this.string();
    if (type === ARRAY) return this.array(key);
    const number = this.numbers(type, 1, key)[0];
    return type === BOOL ? number !== 0 : number;
  }

  private string(): string {
    if (--this.stringsLeft < 0) throw new FormatError(`it has more than ${MAX_STRINGS} strings.`);
    const size = this.count("bytes of one string", MAX_HEADER_BYTES);
    const start = this.advance(size);
    return this.text.decode(this.bytes.subarray(start, this.position));
  }

  private array(key: string): string[] | NumberArray {
    const type = this.u32();
    if (type !== STRING) return this.numbers(type, this.count(`numbers in '${key}'`, MAX_HEADER_BYTES), key);
    const count = this.count(`strings in '${key}'`, MAX_STRINGS);
    const strings: string[] = [];
    for (let i = 0; i < count; i++) strings.push(this.string());
    return strings;
  }

  private numbers(type: number, count: number, key: string): NumberArray {
    const scalar = SCALARS[type];
    if (!scalar) throw new UnsupportedError(`The metadata key '${key}' has the type ${type}, which is not read here.`);
    const start = this.advance(count * scalar[0]);
    return scalar[1](this.bytes.slice(start, this.position).buffer);
  }

  entry(): Entry {
    const name = this.name();
    const dimensions = this.u32();
    if (dimensions > 4) throw new FormatError(`the tensor '${name}' has ${dimensions} dimensions.`);
    const sizes = Array.from({ length: dimensions }, () => this.u64());
    const shape = dimensions ? sizes.reverse() : [1];
    if (!shape.every((size) => size >= 1) || shape.reduce((a, b) => a * b, 1) > MAX_WEIGHTS)
      throw new FormatError(`the tensor '${name}' has an impossible shape.`);
    return { name, shape, type: this.u32(), offset: this.u64() };
  }
}

/** A model's tensors on the GPU, streamed there in parts: no matrix is ever whole in the page's memory. */

import { FormatError, UnsupportedError } from "../errors.ts";
import { ENCODINGS } from "../files/encodings.ts";
import type { TensorInfo } from "../files/gguf.ts";
import type { ByteSource } from "../files/source.ts";
import type { Gpu } from "./device.ts";
import { half, type Layout, layoutOf, repack, rowsTogether, scalesOfRow, wordsOfRow } from "./repack.ts";

/** Rows of one matrix, or of several that are multiplied with the same input, that fit one binding. */
export interface MatrixPart {
  readonly firstRow: number;
  readonly rows: number;
  readonly words: GPUBuffer;
  readonly scales: GPUBuffer;
}

export interface Matrix {
  readonly layout: Layout;
  /** Columns of the input. */
  readonly columns: number;
  readonly rows: number;
  readonly parts: readonly MatrixPart[];
}

const CHUNK_BYTES = 1 << 22;

/** Reads tensors from a source and counts what was read. */
export class Loader {
  private done = 0;

  constructor(
    private readonly gpu: Gpu,
    private readonly source: ByteSource,
    private readonly tensors: ReadonlyMap<string, TensorInfo>,
    /** The tensor with a matrix's own scale, by the matrix's name. */
    private readonly scaleTensors: ReadonlyMap<string, TensorInfo>,
    private readonly progress: (bytes: number) => void,
    private readonly signal?: AbortSignal,
  ) {}

  /** A norm, a bias or another list of numbers in float32. */
  async vector(name: string): Promise<Float32Array> {
    const info = this.info(name);
    return floats(info, await this.read(info.offset, info.offset + info.bytes));
  }

  /** The matrices of these names, one above the other; they have the same columns and layout. */
  async matrix(names: readonly string[]): Promise<Matrix> {
    const infos = names.map((name) => this.info(name));
    const columns = infos[0].shape[1];
    const layout = layoutOf(infos[0].encoding, columns);
    const rows = infos.reduce((sum, info) => sum + info.shape[0], 0);
    const rowBytes = Math.max(wordsOfRow(layout), scalesOfRow(layout)) * 4;
    const most = Math.floor(this.gpu.maxBytes / rowBytes);
    if (!most) throw new UnsupportedError(`A row of '${names[0]}' is larger than the buffers of this GPU.`);
    const parts: MatrixPart[] = [];
    for (let firstRow = 0; firstRow < rows; firstRow += most) {
      const own = Math.min(most, rows - firstRow);
      parts.push({
        firstRow,
        rows: own,
        words: this.gpu.buffer(own * wordsOfRow(layout) * 4, names[0]),
        scales: this.gpu.buffer(own * scalesOfRow(layout) * 4, `${names[0]} scales`),
      });
    }
    let at = 0;
    for (const info of infos) {
      await this.fill(info, layout, parts, at);
      at += info.shape[0];
    }
    return { layout, columns, rows, parts };
  }

  private info(name: string): TensorInfo {
    return this.tensors.get(name) as TensorInfo;
  }

  /** Writes a matrix from row `at` of the parts on. */
  private async fill(info: TensorInfo, layout: Layout, parts: readonly MatrixPart[], at: number): Promise<void> {
    const [rows, columns] = info.shape;
    const rowBytes = info.bytes / rows;
    const step = rowsTogether(info.encoding, columns);
    const together = Math.max(step, Math.floor(CHUNK_BYTES / rowBytes / step) * step);
    const scale = await this.scale(info);
    for (let row = 0; row < rows; row += together) {
      const count = Math.min(together, rows - row);
      const begin = info.offset + Math.round(row * rowBytes);
      const data = await this.read(begin, begin + Math.round(count * rowBytes));
      const packed = repack(info.encoding, data, count, columns, scale);
      for (const part of parts) {
        const first = Math.max(at + row, part.firstRow);
        const end = Math.min(at + row + count, part.firstRow + part.rows);
        if (first >= end) continue;
        const write = (buffer: GPUBuffer, values: Uint32Array | Float32Array, each: number) => {
          const from = (first - at - row) * each;
          const size = (end - first) * each;
          if (size) this.gpu.device.queue.writeBuffer(buffer, (first - part.firstRow) * each * 4, values, from, size);
        };
        write(part.words, packed.words, wordsOfRow(layout));
        write(part.scales, packed.scales, scalesOfRow(layout));
      }
      // The queue keeps what was written until the GPU has it: waiting bounds the page's memory.
      await this.gpu.device.queue.onSubmittedWorkDone();
      this.gpu.check();
    }
  }

  /** The one scale of an I2_S matrix, which lies behind its codes, times that of a tensor of its own. */
  private async scale(info: TensorInfo): Promise<number> {
    let scale = 1;
    if (info.encoding.name === "i2_s") {
      const end = info.offset + info.bytes;
      scale = float(await this.read(end, end + 4), info.name);
    }
    const own = this.scaleTensors.get(info.name);
    if (!own) return scale;
    if (info.encoding.name !== "i2_s" || own.encoding.name !== "f32" || own.bytes !== 4)
      throw new UnsupportedError(`The tensor '${own.name}' is no scale of an I2_S matrix.`);
    return scale * float(await this.read(own.offset, own.offset + 4), own.name);
  }

  private async read(start: number, end: number): Promise<Uint8Array> {
    this.signal?.throwIfAborted();
    const data = await this.source.read(start, end, this.signal);
    this.done += data.length;
    this.progress(this.done);
    return data;
  }
}

function float(data: Uint8Array, name: string): number {
  const value = new DataView(data.buffer, data.byteOffset).getFloat32(0, true);
  if (!Number.isFinite(value)) throw new FormatError(`The scale of the tensor '${name}' is ${value}.`);
  return value;
}

/** The values of a tensor of floats; raises FormatError where one is not finite. */
export function floats(info: TensorInfo, data: Uint8Array): Float32Array {
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  const count = data.length / info.encoding.blockBytes;
  const read = {
    [ENCODINGS.f32.name]: (i: number) => view.getFloat32(4 * i, true),
    [ENCODINGS.f16.name]: (i: number) => half(view.getUint16(2 * i, true)),
    [ENCODINGS.bf16.name]: (i: number) => bfloat(view.getUint16(2 * i, true)),
  }[info.encoding.name];
  if (!read) throw new UnsupportedError(`The tensor '${info.name}' is stored as ${info.encoding.name}.`);
  const values = Float32Array.from({ length: count }, (_, i) => read(i));
  if (!values.every(Number.isFinite))
    throw new FormatError(`The tensor '${info.name}' has values that are not finite.`);
  return values;
}

function bfloat(bits: number): number {
  return new Float32Array(Uint32Array.of(bits << 16).buffer)[0];
}

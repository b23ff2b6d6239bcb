/** The fastest way to multiply on a GPU, by a short trial. Ways whose numbers are not exactly right are left out: a
 * driver may have faults. */

import { ENCODINGS } from "../files/encodings.ts";
import type { Gpu } from "./device.ts";
import { linearSteps } from "./linear.ts";
import { repack } from "./repack.ts";
import type { Tuning } from "./step.ts";
import { defaultTuning, variants } from "./tuning.ts";

const ROWS = 256;
const COLUMNS = 1024;
const TRIALS = 3;
const DISPATCHES = 8;
const found = new Map<string, Tuning>();

/** The result is remembered for the page's lifetime by the adapter's name. */
export async function autotune(gpu: Gpu): Promise<Tuning> {
  const key = `${gpu.adapterName} ${gpu.packed} ${gpu.subgroups}`;
  let best = found.get(key);
  if (best) return best;
  const trial = new Trial(gpu);
  let least = Number.POSITIVE_INFINITY;
  for (const tuning of variants(gpu)) {
    const time = await trial.time(tuning);
    if (time >= least) continue;
    least = time;
    best = tuning;
  }
  trial.destroy();
  best ??= defaultTuning(gpu);
  found.set(key, best);
  return best;
}

/** One ternary matrix and one row of whole numbers, with the product that is right. */
class Trial {
  private readonly buffers: Record<string, GPUBuffer>;
  private readonly expected = new Float32Array(ROWS);

  constructor(private readonly gpu: Gpu) {
    const bytes = Uint8Array.from({ length: (ROWS * COLUMNS) / 4 }, (_, i) => FIELDS[(i * 2654435761) >>> 24]);
    const x = Int8Array.from({ length: COLUMNS }, (_, i) => ((i * 40503) & 255) - 128);
    const { words, scales } = repack(ENCODINGS.i2_s, bytes, ROWS, COLUMNS, 1);
    const total = x.reduce((sum, value) => sum + value, 0);
    for (let row = 0; row < ROWS; row++)
      for (let c = 0; c < COLUMNS; c++) {
        const byte = bytes[(row * COLUMNS) / 4 + (c >> 7) * 32 + (c & 31)];
        this.expected[row] += (((byte >> (6 - 2 * ((c >> 5) & 3))) & 3) - 1) * x[c];
      }
    const info = new Int32Array(2 + COLUMNS / 32);
    info[0] = 0x3f800000; // the float32 1
    info[1] = total;
    const upload = (values: Uint32Array | Int32Array | Float32Array | Int8Array) => {
      const buffer = gpu.buffer(values.byteLength, "trial");
      gpu.device.queue.writeBuffer(buffer, 0, values as Uint32Array<ArrayBuffer>);
      return buffer;
    };
    this.buffers = {
      state: upload(Uint32Array.of(1, 0, 0, 0)),
      words: upload(words),
      scales: upload(scales),
      codes: upload(x),
      info: upload(info),
      out: gpu.buffer(ROWS * 4, "trial"),
    };
  }

  /** Milliseconds of some dispatches; infinite where the product is wrong or the kernel cannot be made. */
  async time(tuning: Tuning): Promise<number> {
    const { device } = this.gpu;
    const { state, words, scales, codes, info, out } = this.buffers;
    const view = { buffer: out, stride: ROWS, at: 0, width: ROWS };
    const layout = { kind: "ternary", columns: COLUMNS, group: 0 } as const;
    const matrix = { layout, columns: COLUMNS, rows: ROWS, parts: [{ firstRow: 0, rows: ROWS, words, scales }] };
    const form = { activations: "int8", padded: COLUMNS, codes, info } as const;
    const [step] = linearSteps(state, { matrix, x: view, form, out: view, residual: false }, tuning, "one");
    let pipeline: GPUComputePipeline;
    try {
      pipeline = await this.gpu.pipeline(step);
    } catch {
      return Number.POSITIVE_INFINITY;
    }
    const group = this.gpu.bind(step, pipeline);
    let least = Number.POSITIVE_INFINITY;
    const staging = device.createBuffer({ size: ROWS * 4, usage: GPUBufferUsage.COPY_DST | GPUBufferUsage.MAP_READ });
    for (let trial = 0; trial < TRIALS; trial++) {
      const begin = performance.now();
      const encoder = device.createCommandEncoder();
      encoder.clearBuffer(out); // rows that this way leaves out must not show those of the way before
      const pass = encoder.beginComputePass();
      pass.setPipeline(pipeline);
      pass.setBindGroup(0, group);
      for (let i = 0; i < DISPATCHES; i++) pass.dispatchWorkgroups(...step.groups(1));
      pass.end();
      if (trial === 0) encoder.copyBufferToBuffer(out, 0, staging, 0, ROWS * 4);
      device.queue.submit([encoder.finish()]);
      await device.queue.onSubmittedWorkDone();
      least = Math.min(least, performance.now() - begin);
    }
    await staging.mapAsync(GPUMapMode.READ);
    const got = new Float32Array(staging.getMappedRange());
    const right = this.expected.every((value, row) => value === got[row]);
    staging.destroy();
    return right ? least : Number.POSITIVE_INFINITY;
  }

  destroy(): void {
    for (const buffer of Object.values(this.buffers)) buffer.destroy();
  }
}

/** Bytes of four valid fields. */
const FIELDS = Uint8Array.from({ length: 256 }, (_, i) => {
  const digits = [i % 3, Math.floor(i / 3) % 3, Math.floor(i / 9) % 3, Math.floor(i / 27) % 3];
  return digits.reduce((byte, digit, place) => byte | (digit << (2 * place)), 0);
});

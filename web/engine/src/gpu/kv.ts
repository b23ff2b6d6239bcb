import type { Plan } from "../model/plan.ts";
import type { Gpu } from "./device.ts";

export type KvType = "f16" | "int8";

/** Positions that the cache grows by. */
const BLOCK = 64;

/** Keys and values of one sequence, a buffer each for every layer, and the cosines and sines of its positions. Buffers
 * begin small and double; what they hold stays. */
export class KvCache {
  /** Positions that there is room for. */
  capacity = 0;
  private readonly buffers = new Map<string, GPUBuffer>();

  constructor(
    private readonly gpu: Gpu,
    private readonly plan: Plan,
    readonly type: KvType,
  ) {}

  /** Words of one head of one position: two float16, or four signed bytes and a scale at the end. */
  words(cache: string): number {
    const { head_dim: size } = this.plan.caches[cache];
    return this.type === "f16" ? size / 2 : size / 4 + 1;
  }

  buffer(cache: string, layer: number, what: "keys" | "values"): GPUBuffer {
    return this.buffers.get(`${cache} ${layer} ${what}`) as GPUBuffer;
  }

  turns(frequencies: string): GPUBuffer {
    return this.buffers.get(`turns ${frequencies}`) as GPUBuffer;
  }

  /** Bytes of one position in all layers. */
  get positionBytes(): number {
    const groups = Object.entries(this.plan.caches);
    return groups.reduce((sum, [name, group]) => sum + group.layers * 2 * group.kv_heads * this.words(name) * 4, 0);
  }

  /** Makes room for `positions`; true where buffers are new, so that kernels must be bound to them. */
  async grow(positions: number, most: number): Promise<boolean> {
    if (positions <= this.capacity) return false;
    const wanted = Math.min(Math.max(positions, 2 * this.capacity), Math.max(most, positions));
    const capacity = Math.ceil(wanted / BLOCK) * BLOCK;
    await this.gpu.allocating(`${capacity} positions of context`, async () => {
      const encoder = this.gpu.device.createCommandEncoder();
      const old: GPUBuffer[] = [];
      for (const [cache, group] of Object.entries(this.plan.caches))
        for (let layer = 0; layer < group.layers; layer++)
          for (const what of ["keys", "values"] as const) {
            const name = `${cache} ${layer} ${what}`;
            const buffer = this.gpu.buffer(capacity * group.kv_heads * this.words(cache) * 4, name);
            const before = this.buffers.get(name);
            if (before) {
              encoder.copyBufferToBuffer(before, 0, buffer, 0, before.size);
              old.push(before);
            }
            this.buffers.set(name, buffer);
          }
      this.gpu.device.queue.submit([encoder.finish()]);
      for (const buffer of old) buffer.destroy();
      for (const [name, frequencies] of Object.entries(this.plan.frequencies)) {
        this.buffers.get(`turns ${name}`)?.destroy();
        const table = turnsOf(frequencies, capacity);
        const buffer = this.gpu.buffer(table.byteLength, `turns ${name}`);
        this.gpu.device.queue.writeBuffer(buffer, 0, table);
        this.buffers.set(`turns ${name}`, buffer);
      }
    });
    this.capacity = capacity;
    return true;
  }
}

/** cos and sin of each pair's angle at each position: angles in float64, rounded to float32. */
function turnsOf(frequencies: readonly number[], positions: number): Float32Array<ArrayBuffer> {
  const table = new Float32Array(positions * frequencies.length * 2);
  let at = 0;
  for (let position = 0; position < positions; position++)
    for (const frequency of frequencies) {
      table[at++] = Math.cos(position * frequency);
      table[at++] = Math.sin(position * frequency);
    }
  return table;
}

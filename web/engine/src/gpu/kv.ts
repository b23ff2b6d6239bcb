import type { CacheGroup, Plan } from "../model/plan.ts";
import type { Gpu } from "./device.ts";

export type KvType = "f16" | "int8";

/** Positions that the cache grows by. */
const BLOCK = 64;
/** Positions whose attention is summed by itself, so that several workgroups can share a head. */
export const SPLIT = 256;

/** Words of one head of one position: two float16, or four signed bytes and a scale at the end. */
export function headWords({ head_dim }: CacheGroup, type: KvType): number {
  return type === "f16" ? head_dim / 2 : head_dim / 4 + 1;
}

/** Keys and values of one sequence, a buffer each for every layer, and the cosines and sines of its positions. Buffers
 * begin small and double; what they hold stays. */
export class KvCache {
  /** Positions that there is room for. */
  capacity = 0;
  private buffers = new Map<string, GPUBuffer>();

  constructor(
    private readonly gpu: Gpu,
    private readonly plan: Plan,
    readonly type: KvType,
  ) {}

  words(cache: string): number {
    return headWords(this.plan.caches[cache], this.type);
  }

  buffer(cache: string, layer: number, what: "keys" | "values"): GPUBuffer {
    return this.buffers.get(`${cache} ${layer} ${what}`) as GPUBuffer;
  }

  /** What the runs of positions give of the attention of one token (attention.wgsl). */
  get parts(): GPUBuffer {
    return this.buffers.get("parts") as GPUBuffer;
  }

  /** Runs of SPLIT positions that there is room for. */
  get splits(): number {
    return Math.ceil(this.capacity / SPLIT);
  }

  turns(frequencies: string): GPUBuffer {
    return this.buffers.get(`turns ${frequencies}`) as GPUBuffer;
  }

  /** Makes room for `positions`; true where buffers are new, so that kernels must be bound to them. After OutOfMemory
   * the cache is as it was. */
  async grow(positions: number, most: number): Promise<boolean> {
    if (positions <= this.capacity) return false;
    const wanted = Math.min(Math.max(positions, 2 * this.capacity), Math.max(most, positions));
    const capacity = Math.ceil(wanted / BLOCK) * BLOCK;
    const fresh = new Map<string, GPUBuffer>();
    const make = (name: string, bytes: number) => fresh.set(name, this.gpu.buffer(bytes, name));
    const allocated = this.gpu.allocating(`${capacity} positions of context`, async () => {
      for (const [cache, group] of Object.entries(this.plan.caches))
        for (let layer = 0; layer < group.layers; layer++)
          for (const what of ["keys", "values"])
            make(`${cache} ${layer} ${what}`, capacity * group.kv_heads * this.words(cache) * 4);
      for (const [name, frequencies] of Object.entries(this.plan.frequencies))
        make(`turns ${name}`, capacity * frequencies.length * 8);
      make("parts", Math.ceil(capacity / SPLIT) * partsOf(this.plan) * 4);
    });
    await allocated.catch((error) => {
      for (const buffer of fresh.values()) buffer.destroy(); // those that there are stay in use
      throw error;
    });
    const { queue } = this.gpu.device;
    const encoder = this.gpu.device.createCommandEncoder();
    for (const [name, before] of this.buffers)
      if (/ (keys|values)$/.test(name))
        encoder.copyBufferToBuffer(before, 0, fresh.get(name) as GPUBuffer, 0, before.size);
    queue.submit([encoder.finish()]);
    for (const [name, frequencies] of Object.entries(this.plan.frequencies))
      queue.writeBuffer(fresh.get(`turns ${name}`) as GPUBuffer, 0, turnsOf(frequencies, capacity));
    for (const before of this.buffers.values()) before.destroy();
    this.buffers = fresh;
    this.capacity = capacity;
    return true;
  }
}

/** Numbers that a run of positions gives in the largest attention: for each head its sums, a weight and a score. */
function partsOf({ operations, caches }: Plan): number {
  const each = operations.map((one) => (one.kind === "attention" ? one.heads * (caches[one.cache].head_dim + 2) : 0));
  return Math.max(0, ...each);
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

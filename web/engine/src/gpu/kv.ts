import { OutOfMemory } from "../errors.ts";
import type { CacheGroup, Plan } from "../model/plan.ts";
import type { Gpu } from "./device.ts";
import { BLOCK, Pages } from "./pages.ts";

export type KvType = "f16" | "int8";

/** Positions whose attention is summed by itself, so that several workgroups can share a head. */
export const SPLIT = 256;

/** Words of one head of one position: two float16, or four signed bytes and a scale at the end. */
export function headWords({ head_dim }: CacheGroup, type: KvType): number {
  return type === "f16" ? head_dim / 2 : head_dim / 4 + 1;
}

/** Positions that a windowed cache keeps: the window, and what a pass of `tokens` adds to it; null where all stay. */
export function ringOf({ window }: CacheGroup, tokens: number): number | null {
  return window === null ? null : Math.ceil((window + tokens) / BLOCK) * BLOCK;
}

/** Keys and values, a buffer each for every layer, and the cosines and sines of positions. Blocks of them hold texts, as
 * `pages` says; of a layer with a window only the last positions of the last text are kept, in a ring. Buffers begin
 * small and double up to `most` positions; what they hold stays. */
export class KvCache {
  /** Positions that there is room for. */
  capacity = 0;
  private readonly pages = new Pages();
  private buffers = new Map<string, GPUBuffer>();
  /** Positions of the last text that may have been written, which is what rings hold the end of. */
  private reserved = 0;

  constructor(
    private readonly gpu: Gpu,
    private readonly plan: Plan,
    readonly type: KvType,
    /** Most tokens of a pass. */
    private readonly tokens: number,
  ) {}

  /** The ids of the current text whose keys and values are there. */
  get ids(): number[] {
    return this.pages.current.ids;
  }

  /** Makes the text current that has most of the beginning of `ids`, and says how many it has (`Pages.begin`). */
  begin(ids: readonly number[]): number {
    const windowed = Object.values(this.plan.caches).filter((group) => group.window !== null);
    const common = this.pages.begin(ids, windowed.length > 0);
    const isKept = windowed.every((group) => {
      const first = this.reserved - (this.ring(group) as number);
      return first <= 0 || common - (group.window as number) >= first;
    });
    if (common && isKept) return common;
    this.reserved = 0;
    this.pages.forget();
    return 0;
  }

  /** Positions that a cache keeps in a ring; null where all stay. */
  ring(group: CacheGroup): number | null {
    return ringOf(group, this.tokens);
  }

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

  /** The block of each 64 positions of the current text. */
  get table(): GPUBuffer {
    return this.buffers.get("table") as GPUBuffer;
  }

  turns(frequencies: string): GPUBuffer {
    return this.buffers.get(`turns ${frequencies}`) as GPUBuffer;
  }

  /** Makes room for `positions` of the current text, of `most` in all; true where buffers are new, so that kernels must
   * be bound to them. After OutOfMemory the cache is as it was. */
  async reserve(positions: number, most: number): Promise<boolean> {
    const before = this.buffers;
    while (!this.pages.extend(positions))
      if (this.capacity >= most) this.pages.drop();
      else
        await this.grow(Math.min(Math.max(positions, 2 * this.capacity), most)).catch((error) => {
          if (!(error instanceof OutOfMemory && this.pages.drop())) throw error;
        });
    this.reserved = Math.max(this.reserved, positions);
    this.gpu.device.queue.writeBuffer(this.table, 0, Uint32Array.from(this.pages.current.blocks));
    return this.buffers !== before;
  }

  private async grow(positions: number): Promise<void> {
    const capacity = Math.ceil(Math.max(positions, this.capacity + 1) / BLOCK) * BLOCK;
    const fresh = new Map<string, GPUBuffer>();
    const make = (name: string, bytes: number) => fresh.set(name, this.gpu.buffer(bytes, name));
    const allocated = this.gpu.allocating(`${capacity} positions of context`, async () => {
      for (const [cache, group] of Object.entries(this.plan.caches)) {
        const kept = Math.min(capacity, this.ring(group) ?? capacity);
        for (let layer = 0; layer < group.layers; layer++)
          for (const what of ["keys", "values"])
            make(`${cache} ${layer} ${what}`, kept * group.kv_heads * this.words(cache) * 4);
      }
      for (const [name, frequencies] of Object.entries(this.plan.frequencies))
        make(`turns ${name}`, capacity * frequencies.length * 8);
      make("table", (capacity / BLOCK) * 4);
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
    this.pages.add((capacity - this.capacity) / BLOCK);
    this.capacity = capacity;
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

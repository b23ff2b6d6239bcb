import type { Activations } from "../files/encodings.ts";
import type { Plan } from "../model/plan.ts";
import type { Gpu } from "./device.ts";

/** Where the rows of a slot lie: `width` numbers from `at` on in each row of `stride` numbers. */
export interface View {
  readonly buffer: GPUBuffer;
  readonly stride: number;
  readonly at: number;
  readonly width: number;
}

/** Rows of a slot in whole numbers, for matrices: codes in planes of signed bytes, and their scales and sums. */
export interface Quantized {
  readonly activations: Activations;
  /** Columns with the padding of blocks. */
  readonly padded: number;
  readonly codes: GPUBuffer;
  readonly info: GPUBuffer;
}

/** Tiles of tokens may reach past a pass: buffers have room for them. */
const TILE = 4;

/** The slots of a plan in buffers of `tokens` rows. What one kernel reads lies side by side: q, k and v of an attention,
 * and a gate with what it is multiplied with. So one kernel can write them, too. */
export class Slots {
  private readonly views = new Map<string, View>();
  private readonly forms = new Map<string, Quantized>();
  readonly tokens: number;

  constructor(
    private readonly gpu: Gpu,
    private readonly plan: Plan,
    tokens: number,
  ) {
    this.tokens = Math.ceil(tokens / TILE) * TILE;
    for (const operation of plan.operations)
      if (operation.kind === "attention") this.place([operation.q, operation.k, operation.v]);
      else if (operation.kind === "gated") this.place([operation.gate, operation.up]);
    for (const name of Object.keys(plan.slots)) this.place([name]);
  }

  view(name: string): View {
    return this.views.get(name) as View;
  }

  /** The buffers of a slot's whole numbers. */
  quantized(name: string, activations: Activations): Quantized {
    const key = `${name} ${activations}`;
    let form = this.forms.get(key);
    if (!form) {
      const padded = Math.ceil(this.plan.slots[name] / 128) * 128;
      const planes = activations === "int15" ? 2 : 1;
      const codes = this.gpu.buffer(this.tokens * planes * padded, `${key} codes`);
      const info = this.gpu.buffer(this.tokens * (padded / 32 + 2) * 4, `${key} info`);
      form = { activations, padded, codes, info };
      this.forms.set(key, form);
    }
    return form;
  }

  private place(names: readonly string[]): void {
    const fresh = names.filter((name) => !this.views.has(name));
    const stride = fresh.reduce((sum, name) => sum + this.plan.slots[name], 0);
    if (!stride) return;
    const buffer = this.gpu.buffer(this.tokens * stride * 4, fresh.join(" "));
    let at = 0;
    for (const name of fresh) {
      const width = this.plan.slots[name];
      this.views.set(name, { buffer, stride, at, width });
      at += width;
    }
  }
}

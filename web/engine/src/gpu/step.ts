import type { Dot } from "./device.ts";
import type { Constants } from "./kernels.ts";

/** One dispatch of a pass: a kernel, its constants, and the buffers that it is bound to. */
export interface Step {
  readonly kernel: string;
  readonly constants: Constants;
  readonly dot?: Dot;
  /** By the kernel's names; asked for again when the cache has grown. */
  buffers(): Record<string, GPUBuffer>;
  /** Workgroups for a pass of n tokens. */
  groups(n: number): [number, number];
}

/** How this GPU computes. */
export interface Tuning {
  /** Threads that share a row while one token is computed. */
  lanes: number;
  /** A subgroup shares a row instead, where the kernel can. */
  subgroups: boolean;
  dot: Dot;
  /** Threads that share a row of anything else. */
  rowThreads: number;
}

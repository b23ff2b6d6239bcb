import type { Dot, Gpu } from "./device.ts";
import type { Tuning } from "./step.ts";

/** How matrices are multiplied where nothing was measured: on a processor a thread a row; on a GPU eight, which is a
 * cache line of I2_S blocks. */
export function defaultTuning(gpu: Gpu): Tuning {
  const dot: Dot = gpu.packed ? "packed" : "shifts";
  return { lanes: gpu.isProcessor ? 1 : 8, subgroups: false, dot };
}

/** What a GPU can do: every way is exact, so only speed tells them apart. */
export function variants(gpu: Gpu): Tuning[] {
  const dots: Dot[] = gpu.packed ? ["packed", "shifts", "float"] : ["shifts", "float"];
  const widest = Math.min(gpu.device.adapterInfo?.subgroupMaxSize ?? 0, 64);
  return dots.flatMap((dot) => [
    { lanes: 1, subgroups: false, dot },
    { lanes: 8, subgroups: false, dot },
    ...(gpu.subgroups && widest ? [{ lanes: widest, subgroups: true, dot }] : []),
  ]);
}

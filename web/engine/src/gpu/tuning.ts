import type { Dot, Gpu } from "./device.ts";
import type { Tuning } from "./step.ts";

/** Threads for a row: on a processor every barrier costs each of them. */
const ROW_THREADS = { processor: 4, gpu: 128 };

/** What is done where nothing was measured. A row of a matrix is a thread's on a processor; on a GPU eight share it, which
 * is a cache line of I2_S blocks. */
export function defaultTuning(gpu: Gpu): Tuning {
  const dot: Dot = gpu.packed ? "packed" : "shifts";
  const rowThreads = ROW_THREADS[gpu.isProcessor ? "processor" : "gpu"];
  return { lanes: gpu.isProcessor ? 1 : 8, subgroups: false, dot, rowThreads };
}

/** The ways in which a GPU can multiply matrices: every way is exact, so only speed tells them apart. */
export function variants(gpu: Gpu): Tuning[] {
  const dots: Dot[] = gpu.packed ? ["packed", "shifts", "float"] : ["shifts", "float"];
  const widest = Math.min(gpu.device.adapterInfo?.subgroupMaxSize ?? 0, 64);
  const { rowThreads } = defaultTuning(gpu);
  return dots.flatMap((dot) => [
    { lanes: 1, subgroups: false, dot, rowThreads },
    { lanes: 8, subgroups: false, dot, rowThreads },
    ...(gpu.subgroups && widest ? [{ lanes: widest, subgroups: true, dot, rowThreads }] : []),
  ]);
}

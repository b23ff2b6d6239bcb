/** The trial that chooses how a GPU multiplies: it runs every way, and takes none whose product is wrong. */

import { afterAll, describe, expect, test } from "vitest";
import { autotune } from "../src/gpu/autotune.ts";
import { Gpu } from "../src/gpu/device.ts";
import type { Step, Tuning } from "../src/gpu/step.ts";
import { defaultTuning, variants } from "../src/gpu/tuning.ts";
import { dawn } from "./dawn.ts";

const api = await dawn();
const gpu = api && (await Gpu.open({ gpu: api }));
/** One with fewer ways, each of which is a kernel to compile. */
const few = api && (await Gpu.open({ gpu: api, without: ["packed", "subgroups"] }));
afterAll(() => {
  gpu?.device.destroy();
  few?.device.destroy();
});

/** A GPU whose kernels add to what is there instead of replacing it, where `isFaulty` says so. */
function faulty(real: Gpu, name: string, isFaulty: (step: Step) => boolean): Gpu {
  const pipeline = (step: Step) =>
    real.pipeline(isFaulty(step) ? { ...step, constants: { ...step.constants, RESIDUAL: true } } : step);
  return Object.create(real, { adapterName: { value: name }, pipeline: { value: pipeline } });
}

describe.skipIf(!gpu)("the trial of ways to multiply", () => {
  test("takes one of the ways that this GPU has", async () => {
    expect(variants(gpu as Gpu)).toContainEqual(await autotune(gpu as Gpu));
  });

  test("leaves out ways whose product is wrong", async () => {
    const tuning: Tuning = await autotune(faulty(few as Gpu, "only floats", ({ dot }) => dot !== "float"));
    expect(tuning.dot).toBe("float");
  });

  test("takes the usual way where none is right", async () => {
    const broken = faulty(few as Gpu, "broken", () => true);
    expect(await autotune(broken)).toEqual(defaultTuning(broken));
  });
});

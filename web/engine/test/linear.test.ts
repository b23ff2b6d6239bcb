import { expect, test } from "vitest";
import { linearSteps, MOST_GROUPS } from "../src/gpu/linear.ts";

const BUFFER = {} as GPUBuffer;
const VIEW = { buffer: BUFFER, stride: 128, at: 0, width: 128 };

test.each(["bytes", "ternary"] as const)("a large head in %s needs no more workgroups than a GPU can do", (kind) => {
  const rows = 262_144; // Gemma 3's vocabulary
  const parts = [{ firstRow: 0, rows, words: BUFFER, scales: BUFFER }];
  const matrix = { layout: { kind, columns: 128, group: 32 }, columns: 128, rows, parts };
  const form = { activations: "int15", padded: 128, codes: BUFFER, info: BUFFER } as const;
  const tuning = { lanes: 64, subgroups: true, dot: "packed", rowThreads: 128 } as const;
  for (const tokens of ["one", "many", "last"] as const) {
    const [step] = linearSteps(BUFFER, { matrix, x: VIEW, form, out: VIEW, residual: false }, tuning, tokens);
    expect(step.groups(1)[0]).toBeLessThanOrEqual(MOST_GROUPS);
    const { LANES } = step.constants;
    if (tokens !== "many" || kind === "bytes")
      expect(step.groups(1)[0] * (64 / Number(LANES))).toBeGreaterThanOrEqual(rows);
    expect(step.constants.SUBGROUPS).toBe(false);
  }
});

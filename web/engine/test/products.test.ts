/** Ternary kernels against sums of whole numbers, to the last bit, in every way that they are computed. */

import { afterAll, describe, expect, test } from "vitest";
import { Gpu } from "../src/gpu/device.ts";
import { linearSteps, type Tokens } from "../src/gpu/linear.ts";
import type { Layout } from "../src/gpu/repack.ts";
import type { Tuning } from "../src/gpu/step.ts";
import { dawn } from "./dawn.ts";
import { dispatch, readFloats, upload } from "./gpu.ts";

const api = await dawn();
const gpu = api && (await Gpu.open({ gpu: api }));
afterAll(() => gpu?.device.destroy());

/** More than a workgroup's, and no multiple of a tile's. */
const ROWS = 70;
const TOKENS = [1, 2, 7, 33];
const MOST_TOKENS = 36;
const WIDTHS = [128, 256, 768, 2560, 6912];
const ONE: Tuning = { lanes: 1, subgroups: false, dot: "packed", rowThreads: 4 };
const WAYS: [string, Tokens, Tuning][] = [
  ["a row a thread", "one", ONE],
  ["a row for eight threads", "one", { ...ONE, lanes: 8 }],
  ["a row for a subgroup", "one", { ...ONE, lanes: 4, subgroups: true }],
  ["four rows of four tokens a thread", "many", ONE],
];
const DOTS = ["packed", "shifts", "float"] as const;

/** -1, 0 or 1; the first rows are the extremes. */
function weight(row: number, column: number): number {
  if (row < 2) return row ? -1 : 1;
  return ((Math.imul(row * 7919 + column, 2654435761) >>> 16) % 3) - 1;
}

/** A whole number up to `limit`; the first tokens are the extremes. */
function code(token: number, column: number, least: number, most: number): number {
  if (token < 2) return token ? least : most;
  return least + ((Math.imul(token * 104729 + column, 2246822519) >>> 8) % (most - least + 1));
}

/** Fields (weight + 1) in I2_S blocks. */
function packedWeights(columns: number): Uint32Array {
  const bytes = new Uint8Array((ROWS * columns) / 4);
  for (let row = 0; row < ROWS; row++)
    for (let c = 0; c < columns; c++)
      bytes[(row * columns) / 4 + (c >> 7) * 32 + (c & 31)] |= (weight(row, c) + 1) << (6 - 2 * ((c >> 5) & 3));
  return new Uint32Array(bytes.buffer);
}

/** Codes in planes of signed bytes, with the scale 1 and the sums that the kernels take. */
function packedCodes(columns: number, at: (token: number, column: number) => number, planes: number) {
  const codes = new Int8Array(MOST_TOKENS * planes * columns);
  const info = new Int32Array(MOST_TOKENS * (columns / 32 + 2));
  for (let token = 0; token < MOST_TOKENS; token++) {
    const own = info.subarray(token * (columns / 32 + 2));
    own[0] = 0x3f800000; // the float32 1
    for (let c = 0; c < columns; c++) {
      const value = at(token, c);
      const high = planes === 2 ? (value + 64) >> 7 : 0;
      codes[token * planes * columns + c] = value - 128 * high;
      if (planes === 2) codes[(token * planes + 1) * columns + c] = high;
      own[1] += value;
      own[2 + (c >> 5)] += value;
    }
  }
  return { codes, info };
}

/** Computes the products in each way, and compares them with the sums. */
async function check(columns: number, group: number, activations: "int8" | "int15", dots: readonly Tuning["dot"][]) {
  const device = gpu as Gpu;
  const [least, most] = activations === "int8" ? [-128, 127] : [-16256, 16256];
  const at = (token: number, column: number) => code(token, column, least, most);
  const { codes, info } = packedCodes(columns, at, activations === "int8" ? 1 : 2);
  const expected = Array.from({ length: 33 }, (_, token) =>
    Array.from({ length: ROWS }, (_, row) => {
      let sum = 0;
      for (let c = 0; c < columns; c++) sum += weight(row, c) * at(token, c);
      return sum;
    }),
  );
  const layout: Layout = { kind: "ternary", columns, group };
  const words = upload(device, packedWeights(columns));
  const scales = upload(device, new Float32Array(ROWS * (group ? columns / group : 1)).fill(1));
  const matrix = { layout, columns, rows: ROWS, parts: [{ firstRow: 0, rows: ROWS, words, scales }] };
  const form = { activations, padded: columns, codes: upload(device, codes), info: upload(device, info) };
  const out = { buffer: device.buffer(MOST_TOKENS * ROWS * 4, "out"), stride: ROWS, at: 0, width: ROWS };
  const state = device.buffer(16, "state");
  const job = { matrix, x: out, form, out, residual: false };
  for (const [name, tokens, way] of WAYS)
    for (const dot of dots) {
      const steps = linearSteps(state, job, { ...way, dot }, tokens);
      for (const n of TOKENS) {
        device.device.queue.writeBuffer(state, 0, Uint32Array.of(n, 0, 0, 0));
        await dispatch(device, steps, n);
        const got = await readFloats(device, out.buffer, n * ROWS);
        const wrong = got.findIndex((value, i) => value !== expected[Math.floor(i / ROWS)][i % ROWS]);
        expect(wrong, `${columns} columns, ${name}, ${dot}, ${n} tokens`).toBe(-1);
      }
    }
}

describe.skipIf(!gpu)("sums of whole numbers are exact", () => {
  test.each(WIDTHS)("in I2_S, %i columns", (columns) => check(columns, 0, "int8", columns === 768 ? DOTS : ["packed"]));

  test.each([
    [256, "int8"],
    [128, "int15"],
    [64, "int15"],
  ] as const)("with a scale for %i columns, in %s", (group, activations) =>
    check(768, group, activations, group === 64 ? DOTS : ["packed"]),
  );
});

/** The whole numbers of rows, against the oracle's of the same float32 numbers (tests/web/fixtures.py). */

import { afterAll, describe, expect, test } from "vitest";
import { Gpu } from "../src/gpu/device.ts";
import { rowStep } from "../src/gpu/rows.ts";
import { dawn } from "./dawn.ts";
import { json } from "./files.ts";
import { dispatch, readBytes, upload } from "./gpu.ts";

interface Fixture {
  columns: number;
  rows: string;
  int8: { codes: string; scales: string };
  int15: { codes: string; scales: string };
}

const api = await dawn();
const gpu = api && (await Gpu.open({ gpu: api }));
afterAll(() => gpu?.device.destroy());

function decoded(base64: string): ArrayBuffer {
  return Uint8Array.from(atob(base64), (character) => character.charCodeAt(0)).buffer;
}

describe.skipIf(!gpu)("rows become the oracle's whole numbers", () => {
  const fixture = json<Fixture>("web/engine/test/fixtures/codes.json");
  const { columns } = fixture;
  const rows = new Float32Array(decoded(fixture.rows));
  const count = rows.length / columns;

  test.each([
    ["int8", 4],
    ["int15", 4],
    ["int8", 128],
    ["int15", 128],
  ] as const)("in %s by %i threads", async (activations, threads) => {
    const device = gpu as Gpu;
    const padded = Math.ceil(columns / 128) * 128;
    const planes = activations === "int15" ? 2 : 1;
    const view = (buffer: GPUBuffer) => ({ buffer, stride: columns, at: 0, width: columns });
    const codes = device.buffer(count * planes * padded, "codes");
    const info = device.buffer(count * (padded / 32 + 2) * 4, "info");
    const quantize = { activations, padded, codes, info };
    const out = view(device.buffer(rows.byteLength, "out"));
    const step = rowStep(view(upload(device, rows)), out, threads, { quantize });
    await dispatch(device, [step], count);

    const { codes: stored, scales } = fixture[activations];
    const expected = activations === "int8" ? new Int8Array(decoded(stored)) : new Int16Array(decoded(stored));
    const got = new Int8Array(await readBytes(device, codes));
    const words = await readBytes(device, info);
    for (let row = 0; row < count; row++) {
      const own = got.subarray(row * planes * padded, (row + 1) * planes * padded);
      const whole = Array.from({ length: columns }, (_, c) => own[c] + (planes === 2 ? 128 * own[padded + c] : 0));
      expect(whole, `row ${row}`).toEqual(Array.from(expected.subarray(row * columns, (row + 1) * columns)));
      const at = row * (padded / 32 + 2);
      expect(new Float32Array(words)[at]).toBe(new Float32Array(decoded(scales))[row]);
      const sums = Array.from(new Int32Array(words).subarray(at + 1, at + 2 + padded / 32));
      const runs = sums.slice(1).map((_, run) => whole.slice(32 * run, 32 * run + 32).reduce((a, b) => a + b, 0));
      expect(sums).toEqual([whole.reduce((a, b) => a + b, 0), ...runs]);
    }
  });
});

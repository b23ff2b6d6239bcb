/** How far logits are from others. */

function logSoftmax(row: Float32Array): number[] {
  const most = row.reduce((a, b) => Math.max(a, b));
  const total = most + Math.log(row.reduce((sum, value) => sum + Math.exp(value - most), 0));
  return Array.from(row, (value) => value - total);
}

/** Mean divergence of rows from the expected ones. */
export function meanKl(expected: Float32Array[], got: Float32Array[]): number {
  const each = expected.map((row, i) => {
    const [p, q] = [logSoftmax(row), logSoftmax(got[i])];
    return p.reduce((sum, value, id) => sum + Math.exp(value) * (value - q[id]), 0);
  });
  return each.reduce((a, b) => a + b, 0) / each.length;
}

function norm(row: Float32Array): number {
  return Math.hypot(...row);
}

/** The norm of each row's difference, relative to that of the expected row. */
export function relativeErrors(expected: Float32Array[], got: Float32Array[]): number[] {
  return expected.map((row, i) => norm(row.map((value, id) => value - got[i][id])) / norm(row));
}

export function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)];
}

function best(row: Float32Array): number {
  return row.indexOf(row.reduce((most, value) => Math.max(most, value)));
}

/** In how many rows the most likely token is the expected one. */
export function sameBest(expected: Float32Array[], got: Float32Array[]): number {
  return expected.filter((row, i) => best(row) === best(got[i])).length;
}

/** Rows of numbers that lie one after another, `count` of them. */
export function rowsOf(flat: Float32Array, count: number): Float32Array[] {
  const width = flat.length / count;
  return Array.from({ length: count }, (_, i) => flat.subarray(i * width, (i + 1) * width));
}

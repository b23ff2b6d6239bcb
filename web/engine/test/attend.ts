/** Causal attention in float64, as `model/operations.py` of the Python package says. */

export interface Shape {
  heads: number;
  kvHeads: number;
  headDim: number;
  scale: number;
  window: number | null;
}

/** The last `n` positions' queries [n, heads, headDim] over keys and values [positions, kvHeads, headDim]. */
export function attend(q: Float32Array, keys: Float32Array, values: Float32Array, n: number, shape: Shape) {
  const { heads, kvHeads, headDim, scale, window } = shape;
  const out = new Float32Array(n * heads * headDim);
  const before = keys.length / (kvHeads * headDim) - n;
  for (let token = 0; token < n; token++)
    for (let head = 0; head < heads; head++) {
      const query = q.subarray((token * heads + head) * headDim);
      const place = (position: number) => (position * kvHeads + Math.floor(head / (heads / kvHeads))) * headDim;
      const end = before + token + 1;
      const begin = window === null ? 0 : Math.max(0, end - window);
      const scores = Array.from({ length: end - begin }, (_, i) => {
        let sum = 0;
        for (let c = 0; c < headDim; c++) sum += query[c] * keys[place(begin + i) + c];
        return sum * scale;
      });
      const highest = scores.reduce((a, b) => Math.max(a, b));
      const weights = scores.map((score) => Math.exp(score - highest));
      const total = weights.reduce((a, b) => a + b);
      for (let c = 0; c < headDim; c++) {
        const sum = weights.reduce((sum, weight, i) => sum + weight * values[place(begin + i) + c], 0);
        out[(token * heads + head) * headDim + c] = sum / total;
      }
    }
  return out;
}

// out = W · x for W in signed bytes (Q8_0, Q6_K, Q4_0), GROUP columns of which share a scale; x in int15.
// One row of one token for LANES threads.
@group(0) @binding(3) var<storage, read> weights: array<vec4<u32>>;
@group(0) @binding(4) var<storage, read> scales: array<f32>;
@group(0) @binding(5) var<storage, read> codes: array<vec4<u32>>;
@group(0) @binding(6) var<storage, read> info: array<u32>;

alias Sum = f32;
const GROUPS = COLUMNS / GROUP;
const QUADS = PADDED / 16u;  // vectors of words in a plane of codes
const INFO = PADDED / 32u + 2u;

fn products(w: vec4<u32>, x: vec4<u32>) -> i32 {
  return dot4(w.x, x.x) + dot4(w.y, x.y) + dot4(w.z, x.z) + dot4(w.w, x.w);
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
  let lane = lid % LANES;
  let row = wid.x * (THREADS / LANES) + lid / LANES;
  let own = min(row, ROWS - 1u);
  let token = token_of(wid.y);
  var sum = 0.0;
  for (var g = lane; g < GROUPS; g += LANES) {
    var whole = 0;
    for (var quad = g * (GROUP / 16u); quad < (g + 1u) * (GROUP / 16u); quad++) {
      let w = weights[own * (COLUMNS / 16u) + quad];
      let at = token * 2u * QUADS + quad;
      whole += 128 * products(w, codes[at + QUADS]) + products(w, codes[at]);
    }
    sum += f32(whole) * scales[own * GROUPS + g];
  }
  sum = sum_of_lanes(sum, lane, lid);
  if (lane != 0u || row >= ROWS) {
    return;
  }
  store(token, row, sum * (1.0 / bitcast<f32>(info[token * INFO])));
}

// out = W · x for W in F16 or F32 and x in float32.
// One row of one token for LANES threads.
@group(0) @binding(3) var<storage, read> weights: array<u32>;
@group(0) @binding(4) var<storage, read> x: array<f32>;

alias Sum = f32;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
  let lane = lid % LANES;
  let row = wid.x * (THREADS / LANES) + lid / LANES;
  let own = min(row, ROWS - 1u);
  let token = token_of(wid.y);
  var sum = 0.0;
  // Two columns at a time.
  for (var pair = lane; pair < COLUMNS / 2u; pair += LANES) {
    //#if F16
    let w = unpack2x16float(weights[own * (COLUMNS / 2u) + pair]);
    //#else
    let w = bitcast<vec2<f32>>(vec2<u32>(weights[own * COLUMNS + 2u * pair], weights[own * COLUMNS + 2u * pair + 1u]));
    //#endif
    let at = token * X_STRIDE + X_AT + 2u * pair;
    sum += dot(w, vec2<f32>(x[at], x[at + 1u]));
  }
  sum = sum_of_lanes(sum, lane, lid);
  if (lane != 0u || row >= ROWS) {
    return;
  }
  store(token, row, sum);
}

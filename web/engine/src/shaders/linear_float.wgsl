// out = W · x for W in F16 or F32 and x in float32.
// One row of one token for LANES threads.
//#if LAST
@group(0) @binding(0) var<storage, read> state: State;
//#endif
@group(0) @binding(1) var<storage, read> weights: array<u32>;
@group(0) @binding(2) var<storage, read> x: array<f32>;
@group(0) @binding(3) var<storage, read_write> out: array<f32>;
//#if BIAS
@group(0) @binding(4) var<storage, read> bias: array<f32>;
//#endif

const THREADS = 64u;

//#if SHARED
var<workgroup> partial: array<f32, THREADS>;
//#endif

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
  let lane = lid % LANES;
  let row = wid.x * (THREADS / LANES) + lid / LANES;
  let own = min(row, ROWS - 1u);
  //#if LAST
  let token = state.n - 1u;
  //#else
  let token = wid.y;
  //#endif
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
  //#if SHARED
  partial[lid] = sum;
  workgroupBarrier();
  if (lane == 0u) {
    for (var other = 1u; other < LANES; other++) {
      sum += partial[lid + other];
    }
  }
  //#endif
  if (lane != 0u || row >= ROWS) {
    return;
  }
  var value = sum;
  //#if BIAS
  value += bias[row];
  //#endif
  //#if LAST
  let place = FIRST_ROW + row;
  //#else
  let place = token * OUT_STRIDE + OUT_AT + FIRST_ROW + row;
  //#endif
  //#if RESIDUAL
  value += out[place];
  //#endif
  out[place] = value;
}

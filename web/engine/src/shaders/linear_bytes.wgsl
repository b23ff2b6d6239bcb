// out = W · x for W in signed bytes (Q8_0, Q6_K, Q4_0), GROUP columns of which share a scale; x in int15.
// One row of one token for LANES threads.
//#if LAST
@group(0) @binding(0) var<storage, read> state: State;
//#endif
@group(0) @binding(1) var<storage, read> weights: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read> scales: array<f32>;
@group(0) @binding(3) var<storage, read> codes: array<vec4<u32>>;
@group(0) @binding(4) var<storage, read> info: array<u32>;
@group(0) @binding(5) var<storage, read_write> out: array<f32>;
//#if BIAS
@group(0) @binding(6) var<storage, read> bias: array<f32>;
//#endif

const THREADS = 64u;
const GROUPS = COLUMNS / GROUP;
const QUADS = PADDED / 16u;  // vectors of words in a plane of codes
const INFO = PADDED / 32u + 2u;

//#if SHARED
var<workgroup> partial: array<f32, THREADS>;
//#endif

fn products(w: vec4<u32>, x: vec4<u32>) -> i32 {
  return dot4(w.x, x.x) + dot4(w.y, x.y) + dot4(w.z, x.z) + dot4(w.w, x.w);
}

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
  for (var g = lane; g < GROUPS; g += LANES) {
    var whole = 0;
    for (var quad = g * (GROUP / 16u); quad < (g + 1u) * (GROUP / 16u); quad++) {
      let w = weights[own * (COLUMNS / 16u) + quad];
      let at = token * 2u * QUADS + quad;
      whole += 128 * products(w, codes[at + QUADS]) + products(w, codes[at]);
    }
    sum += f32(whole) * scales[own * GROUPS + g];
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
  var value = sum * (1.0 / bitcast<f32>(info[token * INFO]));
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

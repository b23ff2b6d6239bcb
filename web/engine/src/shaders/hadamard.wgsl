// The normalised Walsh-Hadamard transform of one run of BLOCK columns of one token a workgroup, in workgroup memory.
@group(0) @binding(1) var<storage, read_write> out: array<f32>;
//#if HAS_INPUT
@group(0) @binding(2) var<storage, read> x: array<f32>;
//#endif
//#if SIGNS
@group(0) @binding(3) var<storage, read> signs: array<f32>;
//#endif

const THREADS = 64u;
var<workgroup> row: array<f32, BLOCK>;

fn sign_of(column: u32) -> f32 {
  //#if SIGNS
  return signs[column];
  //#else
  return 1.0;
  //#endif
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
  let token = wid.y;
  let first = wid.x * BLOCK;
  for (var i = lid; i < BLOCK; i += THREADS) {
    //#if HAS_INPUT
    var value = x[token * X_STRIDE + X_AT + first + i];
    //#else
    var value = out[token * OUT_STRIDE + OUT_AT + first + i];
    //#endif
    //#if FORWARD
    value *= sign_of(first + i);
    //#endif
    row[i] = value;
  }
  for (var width = 1u; width < BLOCK; width *= 2u) {
    workgroupBarrier();
    for (var pair = lid; pair < BLOCK / 2u; pair += THREADS) {
      let a = (pair / width) * 2u * width + pair % width;
      let sum = row[a] + row[a + width];
      row[a + width] = row[a] - row[a + width];
      row[a] = sum;
    }
  }
  workgroupBarrier();
  for (var i = lid; i < BLOCK; i += THREADS) {
    var value = row[i] * NORMALIZER;
    //#if INVERSE
    value *= sign_of(first + i);
    //#endif
    out[token * OUT_STRIDE + OUT_AT + first + i] = value;
  }
}

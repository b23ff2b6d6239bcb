// out += x / sqrt(mean(x²) + EPS) * weight, one row a workgroup.
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> weight: array<f32>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;

var<workgroup> squares: array<f32, THREADS>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
  let row = wid.x * X_STRIDE + X_AT;
  var own = 0.0;
  for (var column = lid; column < COLUMNS; column += THREADS) {
    own += x[row + column] * x[row + column];
  }
  squares[lid] = own;
  for (var width = THREADS / 2u; width > 0u; width /= 2u) {
    workgroupBarrier();
    if (lid < width) {
      squares[lid] += squares[lid + width];
    }
  }
  workgroupBarrier();
  let inverse = 1.0 / sqrt(squares[0] / f32(COLUMNS) + EPS);
  for (var column = lid; column < COLUMNS; column += THREADS) {
    out[wid.x * OUT_STRIDE + OUT_AT + column] += x[row + column] * inverse * weight[column];
  }
}

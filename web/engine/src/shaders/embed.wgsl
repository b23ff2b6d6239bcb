// out[t] = weight[token_t] * FACTOR: rows FIRST_ROW to FIRST_ROW + ROWS of the embedding are in this buffer.
@group(0) @binding(0) var<storage, read> state: State;
@group(0) @binding(1) var<storage, read> tokens: array<u32>;
@group(0) @binding(2) var<storage, read> weights: array<u32>;
@group(0) @binding(3) var<storage, read_write> out: array<f32>;
//#if BYTES
@group(0) @binding(4) var<storage, read> scales: array<f32>;
//#endif

fn value(row: u32, column: u32) -> f32 {
  //#if F32
  return bitcast<f32>(weights[row * COLUMNS + column]);
  //#endif
  //#if F16
  return unpack2x16float(weights[(row * COLUMNS + column) / 2u])[column % 2u];
  //#endif
  //#if BYTES
  let word = weights[(row * COLUMNS + column) / 4u];
  let code = extractBits(bitcast<i32>(word), 8u * (column % 4u), 8u);
  return f32(code) * scales[(row * COLUMNS + column) / GROUP];
  //#endif
}

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  let column = id.x;
  let row = tokens[id.y] - FIRST_ROW;  // wraps around for rows before this part
  if (column >= COLUMNS || id.y >= state.n || row >= ROWS) {
    return;
  }
  out[id.y * OUT_STRIDE + OUT_AT + column] = value(row, column) * FACTOR;
}

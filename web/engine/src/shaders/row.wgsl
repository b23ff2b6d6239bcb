// One row a workgroup: what an operation gives, a norm of it, and the quantisation that the next
// matrices want. Each part is there only where a plan asks for it.
//#if PARTED
@group(0) @binding(0) var<storage, read> state: State;
//#endif
@group(0) @binding(1) var<storage, read_write> out: array<f32>;
//#if HAS_INPUT
@group(0) @binding(2) var<storage, read> x: array<f32>;
//#endif
//#if NORM
@group(0) @binding(3) var<storage, read> weight: array<f32>;
//#endif
//#if QUANTIZE
@group(0) @binding(4) var<storage, read_write> codes: array<u32>;
// For each token: the scale s as bits, the sum of all codes, the sums of runs of 32 columns.
@group(0) @binding(5) var<storage, read_write> info: array<u32>;
//#endif

var<workgroup> shared_values: array<f32, THREADS>;

//#if GATED
fn activation(g: f32) -> f32 {
  //#if RELU2
  let positive = max(g, 0.0);
  return positive * positive;
  //#endif
  //#if SILU
  return g / (1.0 + exp(-g));
  //#endif
  //#if GELU
  // g / 2 * (1 + tanh(u)) = g / (1 + e^(-2u)), arXiv 1606.08415, section 2.
  return g / (1.0 + exp(-1.5957691216 * (g + 0.044715 * (g * g * g))));
  //#endif
}
//#endif

//#if PARTED
// A column of what an attention gives, from the sums over its runs of positions (attention.wgsl).
fn merged(column: u32) -> f32 {
  let head = column / HEAD_DIM;
  let end = state.position + 1u;
  let begin = select(0u, end - WINDOW, WINDOW > 0u && end > WINDOW);
  var sum = 0.0;
  var total = 0.0;
  var highest = -3.0e38;
  for (var split = begin / SPLIT; split * SPLIT < end; split++) {
    let place = (split * HEADS + head) * (HEAD_DIM + 2u);
    let higher = max(highest, x[place + HEAD_DIM]);
    let before = exp(highest - higher);
    let now = exp(x[place + HEAD_DIM] - higher);
    total = total * before + x[place + HEAD_DIM + 1u] * now;
    sum = sum * before + x[place + column % HEAD_DIM] * now;
    highest = higher;
  }
  return sum / total;
}
//#endif

fn input(token: u32, column: u32) -> f32 {
  //#if GATED
  let gate = token * X_STRIDE + X_AT + column;
  let up = token * X_STRIDE + UP_AT + column;
  //#if HAS_INPUT
  return activation(x[gate]) * x[up];
  //#else
  return activation(out[gate]) * out[up];
  //#endif
  //#endif
  //#if PARTED
  return merged(column);
  //#endif
  //#if PLAIN
  return x[token * X_STRIDE + X_AT + column];
  //#endif
  //#if IN_PLACE
  return out[token * OUT_STRIDE + OUT_AT + column];
  //#endif
}

fn sum_of_all(own: f32, lid: u32) -> f32 {
  shared_values[lid] = own;
  for (var width = THREADS / 2u; width > 0u; width /= 2u) {
    workgroupBarrier();
    if (lid < width) {
      shared_values[lid] += shared_values[lid + width];
    }
  }
  workgroupBarrier();
  return shared_values[0];
}

fn largest_of_all(own: f32, lid: u32) -> f32 {
  shared_values[lid] = own;
  for (var width = THREADS / 2u; width > 0u; width /= 2u) {
    workgroupBarrier();
    if (lid < width) {
      shared_values[lid] = max(shared_values[lid], shared_values[lid + width]);
    }
  }
  workgroupBarrier();
  return shared_values[0];
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
  let token = wid.x;
  let base = token * OUT_STRIDE + OUT_AT;
  var squares = 0.0;
  for (var column = lid; column < COLUMNS; column += THREADS) {
    let value = input(token, column);
    squares += value * value;
    out[base + column] = value;
  }
  var largest = 1e-5;
  //#if NORM
  let inverse = 1.0 / sqrt(sum_of_all(squares, lid) / f32(COLUMNS) + EPS);
  workgroupBarrier();
  //#endif
  for (var column = lid; column < COLUMNS; column += THREADS) {
    var value = out[base + column];
    //#if NORM
    value = value * inverse * weight[column];
    //#endif
    out[base + column] = value;
    largest = max(largest, abs(value));
  }
  //#if QUANTIZE
  let s = LIMIT / largest_of_all(largest, lid);
  storageBarrier();
  workgroupBarrier();
  let words = PADDED / 4u;
  let runs = PADDED / 32u;
  var total = 0;
  for (var run = lid; run < runs; run += THREADS) {
    var sum = 0;
    for (var k = 0u; k < 8u; k++) {
      var low = 0u;
      var high = 0u;
      for (var byte = 0u; byte < 4u; byte++) {
        let column = run * 32u + k * 4u + byte;
        if (column < COLUMNS) {
          let q = i32(clamp(round(out[base + column] * s), LEAST, LIMIT));
          sum += q;
          //#if INT8
          low = insertBits(low, bitcast<u32>(q), 8u * byte, 8u);
          //#endif
          //#if INT15
          // q = 128 * h + l with both in signed bytes.
          let h = (q + 64) >> 7u;
          high = insertBits(high, bitcast<u32>(h), 8u * byte, 8u);
          low = insertBits(low, bitcast<u32>(q - 128 * h), 8u * byte, 8u);
          //#endif
        }
      }
      codes[token * PLANES * words + run * 8u + k] = low;
      //#if INT15
      codes[(token * PLANES + 1u) * words + run * 8u + k] = high;
      //#endif
    }
    info[token * (runs + 2u) + 2u + run] = bitcast<u32>(sum);
    total += sum;
  }
  let all = i32(sum_of_all(f32(total), lid));
  if (lid == 0u) {
    info[token * (runs + 2u)] = bitcast<u32>(s);
    info[token * (runs + 2u) + 1u] = bitcast<u32>(all);
  }
  //#endif
}

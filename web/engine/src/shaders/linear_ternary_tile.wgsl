// As linear_ternary, four rows of four tokens a thread: each weight that is read is used four times, and each code too.
@group(0) @binding(0) var<storage, read> state: State;
@group(0) @binding(1) var<storage, read> weights: array<u32>;
@group(0) @binding(2) var<storage, read> scales: array<f32>;
@group(0) @binding(3) var<storage, read> codes: array<u32>;
@group(0) @binding(4) var<storage, read> info: array<u32>;
@group(0) @binding(5) var<storage, read_write> out: array<f32>;
//#if BIAS
@group(0) @binding(6) var<storage, read> bias: array<f32>;
//#endif

const THREADS = 64u;
const BLOCKS = COLUMNS / 128u;
const WORDS = COLUMNS / 4u;  // words in a plane of codes
const INFO = COLUMNS / 32u + 2u;
const RUNS = 4u / PARTS;  // runs of a block that share a scale
const FIELDS = vec4<u32>(0x03030303u);

//#if GROUPED
alias Sums = vec4<f32>;
//#else
alias Sums = vec4<i32>;
//#endif

// The products of a word of each row with the word of codes at a place.
fn products(fields: vec4<u32>, at: u32) -> vec4<i32> {
  let x = codes[at];
  let sums = vec4<i32>(dot4(fields.x, x), dot4(fields.y, x), dot4(fields.z, x), dot4(fields.w, x));
  //#if INT15
  let y = codes[at + WORDS];
  return sums + 128 * vec4<i32>(dot4(fields.x, y), dot4(fields.y, y), dot4(fields.z, y), dot4(fields.w, y));
  //#else
  return sums;
  //#endif
}

fn word(rows: vec4<u32>, at: u32) -> vec4<u32> {
  let places = rows * (COLUMNS / 16u) + at;
  return vec4<u32>(weights[places.x], weights[places.y], weights[places.z], weights[places.w]);
}

fn write(token: u32, row0: u32, sums: Sums) {
  if (token >= state.n) {
    return;
  }
  let s = bitcast<f32>(info[token * INFO]);
  for (var r = 0u; r < 4u; r++) {
    let row = row0 + r;
    if (row >= ROWS) {
      return;
    }
    //#if GROUPED
    var value = sums[r] * (1.0 / s);
    //#else
    var value = f32(sums[r] - bitcast<i32>(info[token * INFO + 1u])) * (scales[row] / s);
    //#endif
    //#if BIAS
    value += bias[row];
    //#endif
    let place = token * OUT_STRIDE + OUT_AT + FIRST_ROW + row;
    //#if RESIDUAL
    value += out[place];
    //#endif
    out[place] = value;
  }
}

//#if GROUPED
fn minus(token: u32, run: u32) -> i32 {
  return bitcast<i32>(info[token * INFO + 2u + run]);
}
//#endif

@compute @workgroup_size(THREADS)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  let row0 = id.x * 4u;
  let token = id.y * 4u;
  let rows = min(vec4<u32>(row0, row0 + 1u, row0 + 2u, row0 + 3u), vec4<u32>(ROWS - 1u));
  let stride = PLANES * WORDS;
  var a = Sums();
  var b = Sums();
  var c = Sums();
  var d = Sums();
  for (var block = 0u; block < BLOCKS; block++) {
    let at = token * stride + block * 32u;
    //#if GROUPED
    for (var part = 0u; part < PARTS; part++) {
      var e = vec4<i32>();
      var f = vec4<i32>();
      var g = vec4<i32>();
      var h = vec4<i32>();
      for (var run = part * RUNS; run < (part + 1u) * RUNS; run++) {
        for (var k = 0u; k < 8u; k++) {
          let fields = (word(rows, block * 8u + k) >> vec4<u32>(6u - 2u * run)) & FIELDS;
          let place = at + 8u * run + k;
          e += products(fields, place);
          f += products(fields, place + stride);
          g += products(fields, place + 2u * stride);
          h += products(fields, place + 3u * stride);
        }
        e -= minus(token, block * 4u + run);
        f -= minus(token + 1u, block * 4u + run);
        g -= minus(token + 2u, block * 4u + run);
        h -= minus(token + 3u, block * 4u + run);
      }
      let places = rows * (COLUMNS / GROUP) + (block * 128u + part * RUNS * 32u) / GROUP;
      let scale = vec4<f32>(scales[places.x], scales[places.y], scales[places.z], scales[places.w]);
      a += vec4<f32>(e) * scale;
      b += vec4<f32>(f) * scale;
      c += vec4<f32>(g) * scale;
      d += vec4<f32>(h) * scale;
    }
    //#else
    for (var k = 0u; k < 8u; k++) {
      let w = word(rows, block * 8u + k);
      for (var run = 0u; run < 4u; run++) {
        let fields = (w >> vec4<u32>(6u - 2u * run)) & FIELDS;
        let place = at + 8u * run + k;
        a += products(fields, place);
        b += products(fields, place + stride);
        c += products(fields, place + 2u * stride);
        d += products(fields, place + 3u * stride);
      }
    }
    //#endif
  }
  write(token, row0, a);
  write(token + 1u, row0, b);
  write(token + 2u, row0, c);
  write(token + 3u, row0, d);
}

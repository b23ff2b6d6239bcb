// What the kernels share that compute one row of W · x for one token in LANES threads (`lane` is a thread's number
// among them): the token, the sum over lanes, and where the product goes. Each kernel says what a Sum is.
//#if LAST
@group(0) @binding(0) var<storage, read> state: State;
//#endif
@group(0) @binding(1) var<storage, read_write> out: array<f32>;
//#if BIAS
@group(0) @binding(2) var<storage, read> bias: array<f32>;
//#endif

const THREADS = 64u;

//#if SHARED
var<workgroup> partial: array<Sum, THREADS>;
//#endif

// The last token of the pass, or that of the workgroup.
fn token_of(workgroup: u32) -> u32 {
  //#if LAST
  return state.n - 1u;
  //#else
  return workgroup;
  //#endif
}

// The sum of all lanes; only lane 0 has it whole.
fn sum_of_lanes(own: Sum, lane: u32, lid: u32) -> Sum {
  var sum = own;
  //#if SHARED
  partial[lid] = sum;
  workgroupBarrier();
  if (lane == 0u) {
    for (var other = 1u; other < LANES; other++) {
      sum += partial[lid + other];
    }
  }
  //#endif
  return sum;
}

// Writes a product with its bias, added to what `out` has where it is a residual.
fn store(token: u32, row: u32, product: f32) {
  var value = product;
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

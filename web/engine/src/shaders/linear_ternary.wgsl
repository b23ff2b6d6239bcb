// out = W · x for ternary W in I2_S blocks: word c of a block of 128 weights has, at the shifts 6, 4, 2 and 0, the
// fields (weight + 1) of four columns in each of the block's runs of 32. Sums of whole numbers are exact.
// One row of one token for LANES threads, or for a subgroup.
@group(0) @binding(3) var<storage, read> weights: array<vec4<u32>>;
@group(0) @binding(4) var<storage, read> scales: array<f32>;
@group(0) @binding(5) var<storage, read> codes: array<vec4<u32>>;
@group(0) @binding(6) var<storage, read> info: array<u32>;

const BLOCKS = COLUMNS / 128u;
const QUADS = COLUMNS / 16u;  // vectors of words in a plane of codes
const INFO = COLUMNS / 32u + 2u;
const RUNS = 4u / PARTS;  // runs of a block that share a scale
const FIELDS = vec4<u32>(0x03030303u);

//#if GROUPED
alias Sum = f32;
//#else
alias Sum = i32;
//#endif

fn products(fields: vec4<u32>, at: u32) -> i32 {
  let x = codes[at];
  let sum = dot4(fields.x, x.x) + dot4(fields.y, x.y) + dot4(fields.z, x.z) + dot4(fields.w, x.w);
  //#if INT15
  let y = codes[at + QUADS];
  return sum + 128 * (dot4(fields.x, y.x) + dot4(fields.y, y.y) + dot4(fields.z, y.z) + dot4(fields.w, y.w));
  //#else
  return sum;
  //#endif
}

@compute @workgroup_size(THREADS)
fn main(
  @builtin(workgroup_id) wid: vec3<u32>,
  @builtin(local_invocation_index) lid: u32,
  //#if SUBGROUPS
  @builtin(subgroup_size) subgroup_size: u32,
  @builtin(subgroup_invocation_id) subgroup_lane: u32,
  //#endif
) {
  //#if SUBGROUPS
  let lanes = subgroup_size;
  let lane = subgroup_lane;
  //#else
  let lanes = LANES;
  let lane = lid % LANES;
  //#endif
  let row = wid.x * (THREADS / lanes) + lid / lanes;
  let token = token_of(wid.y);
  var sum = Sum();
  let first = min(row, ROWS - 1u) * BLOCKS;
  for (var b = lane; b < BLOCKS; b += lanes) {
    let at = token * PLANES * QUADS + b * 8u;
    //#if GROUPED
    for (var part = 0u; part < PARTS; part++) {
      var whole = 0;
      for (var run = part * RUNS; run < (part + 1u) * RUNS; run++) {
        let shift = vec4<u32>(6u - 2u * run);
        whole += products((weights[(first + b) * 2u] >> shift) & FIELDS, at + 2u * run);
        whole += products((weights[(first + b) * 2u + 1u] >> shift) & FIELDS, at + 2u * run + 1u);
        whole -= bitcast<i32>(info[token * INFO + 2u + b * 4u + run]);
      }
      sum += f32(whole) * scales[min(row, ROWS - 1u) * (COLUMNS / GROUP) + (b * 128u + part * RUNS * 32u) / GROUP];
    }
    //#else
    for (var half = 0u; half < 2u; half++) {
      let w = weights[(first + b) * 2u + half];
      sum += products((w >> vec4<u32>(6u)) & FIELDS, at + half) + products((w >> vec4<u32>(4u)) & FIELDS, at + 2u + half);
      sum += products((w >> vec4<u32>(2u)) & FIELDS, at + 4u + half) + products(w & FIELDS, at + 6u + half);
    }
    //#endif
  }
  //#if SUBGROUPS
  sum = subgroupAdd(sum);
  //#endif
  sum = sum_of_lanes(sum, lane, lid);
  if (lane != 0u || row >= ROWS) {
    return;
  }
  let s = bitcast<f32>(info[token * INFO]);
  //#if GROUPED
  let value = sum * (1.0 / s);
  //#else
  let value = f32(sum - bitcast<i32>(info[token * INFO + 1u])) * (scales[row] / s);
  //#endif
  store(token, row, value);
}

// Causal attention of one query head of one token: tiles of positions, with the softmax corrected from tile to tile
// (arXiv 2205.14135, algorithm 1). Positions are split in runs of SPLIT, each of which is summed by itself, so that the
// result does not depend on who does it: a workgroup all of them one after another, or, with PARTED, each its own; what
// reads the parts then adds them in the same order (row.wgsl).
@group(0) @binding(0) var<storage, read> state: State;
@group(0) @binding(1) var<storage, read> q: array<f32>;
@group(0) @binding(2) var<storage, read> keys: array<u32>;
@group(0) @binding(3) var<storage, read> values: array<u32>;
@group(0) @binding(4) var<storage, read_write> out: array<f32>;
//#if RING
//#else
@group(0) @binding(5) var<storage, read> table: array<u32>;
//#endif

const TILE = 64u;
const LEAST = -3.0e38;
//#if INT8_KV
const PARTS = 4u;  // values in a word
//#else
const PARTS = 2u;
//#endif
const WORDS = HEAD_DIM / PARTS;
const OWN = (WORDS + TILE - 1u) / TILE;  // words of the output that a thread computes
var<workgroup> query: array<f32, HEAD_DIM>;
var<workgroup> weight: array<f32, TILE>;
var<workgroup> reduced: array<f32, TILE>;
var<workgroup> places: array<u32, TILE>;  // where the heads of a tile's positions lie

//#if INT8_KV
fn bytes_of(word: u32) -> vec4<f32> {
  return vec4<f32>((vec4<i32>(bitcast<i32>(word)) << vec4<u32>(24u, 16u, 8u, 0u)) >> vec4<u32>(24u));
}
//#endif

fn reduce(own: f32, lid: u32, is_sum: bool) -> f32 {
  workgroupBarrier();
  reduced[lid] = own;
  for (var width = TILE / 2u; width > 0u; width /= 2u) {
    workgroupBarrier();
    if (lid < width) {
      let other = reduced[lid + width];
      reduced[lid] = select(max(reduced[lid], other), reduced[lid] + other, is_sum);
    }
  }
  workgroupBarrier();
  return reduced[0];
}

fn score(at: u32) -> f32 {
  var sum = 0.0;
  for (var i = 0u; i < WORDS; i++) {
    //#if INT8_KV
    sum += dot(bytes_of(keys[at + i]), vec4<f32>(query[4u * i], query[4u * i + 1u], query[4u * i + 2u], query[4u * i + 3u]));
    //#else
    sum += dot(unpack2x16float(keys[at + i]), vec2<f32>(query[2u * i], query[2u * i + 1u]));
    //#endif
  }
  //#if INT8_KV
  sum *= bitcast<f32>(keys[at + WORDS]);
  //#endif
  return sum * SCALE;
}

// The sums over positions from `begin` to `end`: of values, of the weights, and the highest score.
var<private> sums: array<vec4<f32>, OWN>;
var<private> total: f32;
var<private> highest: f32;

fn attend(begin: u32, end: u32, kv_head: u32, lid: u32) {
  for (var o = 0u; o < OWN; o++) {
    sums[o] = vec4<f32>();
  }
  total = 0.0;
  highest = LEAST;
  for (var tile = begin; tile < end; tile += TILE) {
    let position = tile + lid;
    var own = LEAST;
    let place = (place_of(position) * KV_HEADS + kv_head) * KV_WORDS;
    places[lid] = place;
    if (position < end) {
      own = score(place);
    }
    let higher = max(highest, reduce(own, lid, false));
    let correction = exp(highest - higher);
    highest = higher;
    let share = select(0.0, exp(own - highest), position < end);
    //#if INT8_KV
    var scale = 0.0;
    if (position < end) {
      scale = bitcast<f32>(values[place + WORDS]);
    }
    weight[lid] = share * scale;
    //#else
    weight[lid] = share;
    //#endif
    total = total * correction + reduce(share, lid, true);
    let count = min(TILE, end - tile);
    for (var o = 0u; o < OWN; o++) {
      let word = lid + o * TILE;
      if (word < WORDS) {
        var sum = sums[o] * correction;
        for (var p = 0u; p < count; p++) {
          let stored = values[places[p] + word];
          //#if INT8_KV
          sum += weight[p] * bytes_of(stored);
          //#else
          sum += weight[p] * vec4<f32>(unpack2x16float(stored), 0.0, 0.0);
          //#endif
        }
        sums[o] = sum;
      }
    }
    workgroupBarrier();
  }
}

@compute @workgroup_size(TILE)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
  let head = wid.x;
  //#if PARTED
  let token = 0u;
  //#else
  let token = wid.y;
  //#endif
  let kv_head = head / (HEADS / KV_HEADS);
  let end = state.position + token + 1u;
  let begin = select(0u, end - WINDOW, WINDOW > 0u && end > WINDOW);
  for (var i = lid; i < HEAD_DIM; i += TILE) {
    query[i] = q[token * Q_STRIDE + Q_AT + head * HEAD_DIM + i];
  }
  workgroupBarrier();
  //#if PARTED
  let first = max(wid.y * SPLIT, begin);
  let last = min((wid.y + 1u) * SPLIT, end);
  if (first >= last) {
    return;
  }
  attend(first, last, kv_head, lid);
  let place = (wid.y * HEADS + head) * (HEAD_DIM + 2u);
  for (var o = 0u; o < OWN; o++) {
    let word = lid + o * TILE;
    if (word < WORDS) {
      for (var part = 0u; part < PARTS; part++) {
        out[place + word * PARTS + part] = sums[o][part];
      }
    }
  }
  if (lid == 0u) {
    out[place + HEAD_DIM] = highest;
    out[place + HEAD_DIM + 1u] = total;
  }
  //#else
  var all: array<vec4<f32>, OWN>;
  var all_total = 0.0;
  var all_highest = LEAST;
  for (var split = begin / SPLIT; split * SPLIT < end; split++) {
    attend(max(split * SPLIT, begin), min((split + 1u) * SPLIT, end), kv_head, lid);
    let higher = max(all_highest, highest);
    let before = exp(all_highest - higher);
    let now = exp(highest - higher);
    all_total = all_total * before + total * now;
    for (var o = 0u; o < OWN; o++) {
      all[o] = all[o] * before + sums[o] * now;
    }
    all_highest = higher;
  }
  for (var o = 0u; o < OWN; o++) {
    let word = lid + o * TILE;
    if (word < WORDS) {
      for (var part = 0u; part < PARTS; part++) {
        out[token * OUT_STRIDE + OUT_AT + head * HEAD_DIM + word * PARTS + part] = all[o][part] / all_total;
      }
    }
  }
  //#endif
}

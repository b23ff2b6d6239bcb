// Causal attention of one query head of one token a workgroup: tiles of positions, with the softmax corrected from tile
// to tile (arXiv 2205.14135, algorithm 1).
@group(0) @binding(0) var<storage, read> state: State;
@group(0) @binding(1) var<storage, read> q: array<f32>;
@group(0) @binding(2) var<storage, read> keys: array<u32>;
@group(0) @binding(3) var<storage, read> values: array<u32>;
@group(0) @binding(4) var<storage, read_write> out: array<f32>;

const TILE = 64u;
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

fn score(position: u32, kv_head: u32) -> f32 {
  let at = (position * KV_HEADS + kv_head) * KV_WORDS;
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

@compute @workgroup_size(TILE)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
  let head = wid.x;
  let token = wid.y;
  let kv_head = head / (HEADS / KV_HEADS);
  for (var i = lid; i < HEAD_DIM; i += TILE) {
    query[i] = q[token * Q_STRIDE + Q_AT + head * HEAD_DIM + i];
  }
  workgroupBarrier();
  let end = state.position + token + 1u;
  let begin = select(0u, end - WINDOW, WINDOW > 0u && end > WINDOW);
  var sums: array<vec4<f32>, OWN>;
  var highest = -3.0e38;
  var total = 0.0;
  for (var tile = begin; tile < end; tile += TILE) {
    let position = tile + lid;
    var own = -3.0e38;
    if (position < end) {
      own = score(position, kv_head);
    }
    let higher = max(highest, reduce(own, lid, false));
    let correction = exp(highest - higher);
    highest = higher;
    let share = select(0.0, exp(own - highest), position < end);
    //#if INT8_KV
    var scale = 0.0;
    if (position < end) {
      scale = bitcast<f32>(values[(position * KV_HEADS + kv_head) * KV_WORDS + WORDS]);
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
          let stored = values[((tile + p) * KV_HEADS + kv_head) * KV_WORDS + word];
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
  for (var o = 0u; o < OWN; o++) {
    let word = lid + o * TILE;
    if (word < WORDS) {
      for (var part = 0u; part < PARTS; part++) {
        out[token * OUT_STRIDE + OUT_AT + head * HEAD_DIM + word * PARTS + part] = sums[o][part] / total;
      }
    }
  }
}

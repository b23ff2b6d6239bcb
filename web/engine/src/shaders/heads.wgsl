// One head of q, k or v of one token a workgroup: the norm of a head, the rotary embedding, and the place of keys and
// values in the cache. Heads are numbered q first, then k, then v.
@group(0) @binding(0) var<storage, read> state: State;
@group(0) @binding(1) var<storage, read_write> qkv: array<f32>;
// cos and sin of each position's pairs.
@group(0) @binding(2) var<storage, read> turns: array<vec2<f32>>;
@group(0) @binding(3) var<storage, read_write> keys: array<u32>;
@group(0) @binding(4) var<storage, read_write> values: array<u32>;
//#if RING
//#else
@group(0) @binding(7) var<storage, read> table: array<u32>;
//#endif
//#if NORM
@group(0) @binding(5) var<storage, read> q_weight: array<f32>;
@group(0) @binding(6) var<storage, read> k_weight: array<f32>;
//#endif

const THREADS = 64u;
const HALF = HEAD_DIM / 2u;
var<workgroup> row: array<f32, HEAD_DIM>;
var<workgroup> shared_values: array<f32, THREADS>;

//#if INT8_KV
fn largest_of_all(own: f32, lid: u32) -> f32 {
  workgroupBarrier();
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
//#endif

fn keep(is_key: bool, at: u32, word: u32) {
  if (is_key) {
    keys[at] = word;
  } else {
    values[at] = word;
  }
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
  let token = wid.y;
  let is_q = wid.x < HEADS;
  let is_v = wid.x >= HEADS + KV_HEADS;
  let kv_head = select(wid.x - HEADS, wid.x - HEADS - KV_HEADS, is_v);
  let at = token * STRIDE + select(select(K_AT, V_AT, is_v) + kv_head * HEAD_DIM, Q_AT + wid.x * HEAD_DIM, is_q);
  for (var i = lid; i < HEAD_DIM; i += THREADS) {
    row[i] = qkv[at + i];
  }
  workgroupBarrier();
  //#if NORM
  var squares = 0.0;
  for (var i = lid; i < HEAD_DIM; i += THREADS) {
    squares += row[i] * row[i];
  }
  shared_values[lid] = squares;
  for (var width = THREADS / 2u; width > 0u; width /= 2u) {
    workgroupBarrier();
    if (lid < width) {
      shared_values[lid] += shared_values[lid + width];
    }
  }
  workgroupBarrier();
  let inverse = 1.0 / sqrt(shared_values[0] / f32(HEAD_DIM) + EPS);
  if (!is_v) {
    for (var i = lid; i < HEAD_DIM; i += THREADS) {
      row[i] = row[i] * inverse * select(k_weight[i], q_weight[i], is_q);
    }
  }
  workgroupBarrier();
  //#endif
  let position = state.position + token;
  if (!is_v) {
    for (var i = lid; i < HALF; i += THREADS) {
      //#if INTERLEAVED
      let first = 2u * i;
      let second = 2u * i + 1u;
      //#else
      let first = i;
      let second = i + HALF;
      //#endif
      let turn = turns[position * HALF + i];
      let a = row[first];
      let b = row[second];
      row[first] = a * turn.x - b * turn.y;
      row[second] = b * turn.x + a * turn.y;
    }
  }
  workgroupBarrier();
  if (is_q) {
    for (var i = lid; i < HEAD_DIM; i += THREADS) {
      qkv[at + i] = row[i];
    }
    return;
  }
  let place = (place_of(position) * KV_HEADS + kv_head) * KV_WORDS;
  //#if INT8_KV
  // The last word is the scale: absmax of the head.
  var largest = 1e-5;
  for (var i = lid; i < HEAD_DIM; i += THREADS) {
    largest = max(largest, abs(row[i]));
  }
  let s = 127.0 / largest_of_all(largest, lid);
  for (var i = lid; i < HEAD_DIM / 4u; i += THREADS) {
    var word = 0u;
    for (var byte = 0u; byte < 4u; byte++) {
      let q = i32(clamp(round(row[4u * i + byte] * s), -128.0, 127.0));
      word = insertBits(word, bitcast<u32>(q), 8u * byte, 8u);
    }
    keep(!is_v, place + i, word);
  }
  if (lid == 0u) {
    keep(!is_v, place + HEAD_DIM / 4u, bitcast<u32>(1.0 / s));
  }
  //#else
  for (var i = lid; i < HALF; i += THREADS) {
    keep(!is_v, place + i, pack2x16float(vec2<f32>(row[2u * i], row[2u * i + 1u])));
  }
  //#endif
}

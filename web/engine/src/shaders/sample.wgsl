// Chooses the next token of one row of logits, and makes it the input of the next pass. One workgroup: penalties and the
// best token, then what top-k, top-p and min-p leave, then a random choice among it.
// Thresholds are found by bisection over the order of float32 numbers, so nothing is sorted.
@group(0) @binding(0) var<storage, read_write> state: State;
@group(0) @binding(1) var<storage, read_write> logits: array<f32>;
@group(0) @binding(2) var<storage, read_write> tokens: array<u32>;
@group(0) @binding(3) var<storage, read_write> results: array<u32>;
// For each token: how often the text has it, and IN_PROMPT where the prompt has it.
@group(0) @binding(4) var<storage, read_write> seen: array<u32>;
@group(0) @binding(5) var<storage, read> sampling: Sampling;

struct Sampling {
  temperature: f32,
  top_k: u32,
  top_p: f32,
  min_p: f32,
  repetition_penalty: f32,
  presence_penalty: f32,
  frequency_penalty: f32,
  seed_low: u32,
  seed_high: u32,
}

const THREADS = 256u;
const IN_PROMPT = 0x80000000u;
const NEVER = -3.4e38;
const CHUNK = (VOCABULARY + THREADS - 1u) / THREADS;
var<workgroup> values: array<f32, THREADS>;
var<workgroup> ids: array<u32, THREADS>;
var<workgroup> chosen: u32;

// Float32 numbers in the order of unsigned numbers.
fn key(value: f32) -> u32 {
  let bits = bitcast<u32>(value);
  return select(bits | 0x80000000u, ~bits, (bits & 0x80000000u) != 0u);
}

fn sum_of_all(own: f32, lid: u32) -> f32 {
  workgroupBarrier();
  values[lid] = own;
  for (var width = THREADS / 2u; width > 0u; width /= 2u) {
    workgroupBarrier();
    if (lid < width) {
      values[lid] += values[lid + width];
    }
  }
  return workgroupUniformLoad(&values[0]);
}

fn adjusted(id: u32) -> f32 {
  var logit = logits[id];
  if (!(abs(logit) < 3.4e38)) {  // true for NaN, too
    return NEVER;
  }
  let count = seen[id];
  if (count != 0u && sampling.repetition_penalty != 1.0) {
    logit = select(logit * sampling.repetition_penalty, logit / sampling.repetition_penalty, logit > 0.0);
  }
  let times = count & ~IN_PROMPT;
  if (times != 0u) {
    logit -= sampling.presence_penalty + sampling.frequency_penalty * f32(times);
  }
  return logit;
}

fn best(lid: u32) -> u32 {
  var highest = NEVER;
  var own = 0u;
  for (var id = lid; id < VOCABULARY; id += THREADS) {
    let logit = adjusted(id);
    logits[id] = logit;
    if (logit > highest) {
      highest = logit;
      own = id;
    }
  }
  values[lid] = highest;
  ids[lid] = own;
  for (var width = THREADS / 2u; width > 0u; width /= 2u) {
    workgroupBarrier();
    if (lid < width) {
      let other = values[lid + width];
      if (other > values[lid] || (other == values[lid] && ids[lid + width] < ids[lid])) {
        values[lid] = other;
        ids[lid] = ids[lid + width];
      }
    }
  }
  storageBarrier();
  return workgroupUniformLoad(&ids[0]);
}

fn multiply64(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
  let a0 = a.x & 0xffffu;
  let a1 = a.x >> 16u;
  let b0 = b.x & 0xffffu;
  let b1 = b.x >> 16u;
  let middle = a1 * b0 + ((a0 * b0) >> 16u);
  let other = a0 * b1 + (middle & 0xffffu);
  let high = a1 * b1 + (middle >> 16u) + (other >> 16u);
  return vec2<u32>(a.x * b.x, high + a.x * b.y + a.y * b.x);
}

fn add64(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
  let low = a.x + b.x;
  return vec2<u32>(low, a.y + b.y + select(0u, 1u, low < a.x));
}

fn xor_shifted(z: vec2<u32>, shift: u32) -> vec2<u32> {
  return z ^ vec2<u32>((z.x >> shift) | (z.y << (32u - shift)), z.y >> shift);
}

// SplitMix64 (Steele et al., 2014) of a counter: a number in [0, 1) that depends on the seed and the step alone.
fn uniform_number(step: u32) -> f32 {
  let seed = vec2<u32>(sampling.seed_low, sampling.seed_high);
  var z = add64(
    multiply64(seed, vec2<u32>(0x7f4a7c15u, 0x9e3779b9u)),
    multiply64(vec2<u32>(step + 1u, 0u), vec2<u32>(0xd192ed03u, 0xd1b54a32u)),
  );
  z = multiply64(xor_shifted(z, 30u), vec2<u32>(0x1ce4e5b9u, 0xbf58476du));
  z = multiply64(xor_shifted(z, 27u), vec2<u32>(0x133111ebu, 0x94d049bbu));
  z = xor_shifted(z, 31u);
  return f32(z.y >> 8u) * 0x1p-24;
}

fn chance(id: u32, highest: f32) -> f32 {
  return exp((logits[id] - highest) / sampling.temperature);
}

// How many tokens, or how much of the chances, have a key from `least` on.
fn reaching(least: u32, highest: f32, lid: u32, is_count: bool) -> f32 {
  var own = 0.0;
  for (var id = lid; id < VOCABULARY; id += THREADS) {
    if (key(logits[id]) >= least) {
      own += select(chance(id, highest), 1.0, is_count);
    }
  }
  return sum_of_all(own, lid);
}

// The highest key from `least` on that still reaches `wanted`.
fn threshold(least: u32, wanted: f32, highest: f32, lid: u32, is_count: bool) -> u32 {
  var low = least;
  var high = key(highest);
  for (var round = 0u; round < 32u; round++) {
    let middle = high - (high - low) / 2u;
    let enough = reaching(middle, highest, lid, is_count) >= wanted;
    low = select(low, middle, enough);
    high = select(max(middle, 1u) - 1u, high, enough || low == high);
  }
  return low;
}

@compute @workgroup_size(THREADS)
fn main(@builtin(local_invocation_index) lid: u32) {
  let first = best(lid);
  if (lid == 0u) {
    chosen = first;
  }
  let random = workgroupUniformLoad(&chosen) < VOCABULARY && sampling.temperature > 0.0;
  if (random) {
    let highest = logits[first];
    var least = key(NEVER) + 1u;
    if (sampling.top_k > 0u && sampling.top_k < VOCABULARY) {
      least = threshold(least, f32(sampling.top_k), highest, lid, true);
    }
    if (sampling.top_p < 1.0) {
      let all = reaching(least, highest, lid, false);
      least = threshold(least, sampling.top_p * all, highest, lid, false);
    }
    if (sampling.min_p > 0.0) {
      least = max(least, key(highest + sampling.temperature * log(sampling.min_p)));
    }
    // Each thread has a run of tokens; the first thread finds the run, and its thread the token.
    let begin = min(lid * CHUNK, VOCABULARY);
    let end = min(begin + CHUNK, VOCABULARY);
    var own = 0.0;
    for (var id = begin; id < end; id++) {
      if (key(logits[id]) >= least) {
        own += chance(id, highest);
      }
    }
    workgroupBarrier();
    values[lid] = own;
    workgroupBarrier();
    var all = 0.0;
    var before = 0.0;
    for (var thread = 0u; thread < THREADS; thread++) {
      if (thread == lid) {
        before = all;
      }
      all += values[thread];
    }
    let wanted = uniform_number(state.sampled) * all;
    if (own > 0.0 && before <= wanted && wanted < before + own) {
      var left = wanted - before;
      var last = begin;
      for (var id = begin; id < end; id++) {
        if (key(logits[id]) >= least) {
          last = id;
          left -= chance(id, highest);
          if (left < 0.0) {
            break;
          }
        }
      }
      chosen = last;
    }
  }
  workgroupBarrier();
  if (lid == 0u) {
    tokens[0] = chosen;
    results[state.step] = chosen;
    seen[chosen] += 1u;
    state.step += 1u;
    state.sampled += 1u;
    state.position += state.n;
    state.n = 1u;
  }
}

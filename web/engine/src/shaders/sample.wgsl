// Chooses the next token of one row of logits, and makes it the input of the next pass. One workgroup: penalties, biases
// and the best token, then what top-k, top-p and min-p leave, then a random choice among it: the CPU's choice
// (native/engine/sampler.cpp) of the same logits, but for random numbers on the border of two tokens (float32).
// Chances are whole numbers of 2^-40, so their sums are the same in every order. Nothing is sorted: `last_of` finds
// a token by its place, eight bits at a time, in a histogram.
@group(0) @binding(0) var<storage, read_write> state: State;
@group(0) @binding(1) var<storage, read_write> logits: array<f32>;
@group(0) @binding(2) var<storage, read_write> tokens: array<u32>;
@group(0) @binding(3) var<storage, read_write> results: array<u32>;
// For each token: how often the text has it, and IN_PROMPT where the prompt has it.
@group(0) @binding(4) var<storage, read_write> seen: array<u32>;
@group(0) @binding(5) var<storage, read> bias: array<f32>;
@group(0) @binding(6) var<storage, read> sampling: Sampling;

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

// 64 bits in two numbers, the low ones first.
alias Whole = vec2<u32>;
// Where a token stands among all, the first highest: its logit as a key, then its id. Without a key, by id alone.
struct Place {
  key: u32,
  id: u32,
}

var<workgroup> values: array<f32, THREADS>;
var<workgroup> ids: array<u32, THREADS>;
var<workgroup> low: array<atomic<u32>, THREADS>;
var<workgroup> high: array<atomic<u32>, THREADS>;
var<workgroup> found: vec4<u32>;

// Float32 numbers in the order of unsigned numbers.
fn key_of(value: f32) -> u32 {
  let bits = bitcast<u32>(value);
  return select(bits | 0x80000000u, ~bits, (bits & 0x80000000u) != 0u);
}

fn place_of(id: u32, by_id: bool) -> Place {
  return Place(select(key_of(logits[id]), 0u, by_id), ~id);
}

fn reaches(place: Place, last: Place) -> bool {
  return place.key > last.key || (place.key == last.key && place.id >= last.id);
}

fn add64(a: Whole, b: Whole) -> Whole {
  let sum = a.x + b.x;
  return Whole(sum, a.y + b.y + select(0u, 1u, sum < a.x));
}

fn less64(a: Whole, b: Whole) -> bool {
  return a.y < b.y || (a.y == b.y && a.x < b.x);
}

fn product32(a: u32, b: u32) -> Whole {
  let a0 = a & 0xffffu;
  let a1 = a >> 16u;
  let b0 = b & 0xffffu;
  let b1 = b >> 16u;
  let middle = a1 * b0 + ((a0 * b0) >> 16u);
  let other = a0 * b1 + (middle & 0xffffu);
  return Whole(a * b, a1 * b1 + (middle >> 16u) + (other >> 16u));
}

// The low 64 bits of a product.
fn multiply64(a: Whole, b: Whole) -> Whole {
  let product = product32(a.x, b.x);
  return Whole(product.x, product.y + a.x * b.y + a.y * b.x);
}

// The high 64 bits of a product: a · b / 2^64.
fn scale64(a: Whole, b: Whole) -> Whole {
  let first = add64(product32(a.x, b.y), Whole(product32(a.x, b.x).y, 0u));
  let second = add64(product32(a.y, b.x), Whole(first.x, 0u));
  return add64(add64(product32(a.y, b.y), Whole(first.y, 0u)), Whole(second.y, 0u));
}

fn xor_shifted(z: Whole, shift: u32) -> Whole {
  return z ^ Whole((z.x >> shift) | (z.y << (32u - shift)), z.y >> shift);
}

// SplitMix64 (Steele et al., 2014) of a counter: 53 random bits, the highest of 64, that depend on the seed and the step.
fn random_number(step: u32) -> Whole {
  let seed = Whole(sampling.seed_low, sampling.seed_high);
  var z = add64(
    multiply64(seed, Whole(0x7f4a7c15u, 0x9e3779b9u)),
    multiply64(Whole(step + 1u, 0u), Whole(0xd192ed03u, 0xd1b54a32u)),
  );
  z = multiply64(xor_shifted(z, 30u), Whole(0x1ce4e5b9u, 0xbf58476du));
  z = multiply64(xor_shifted(z, 27u), Whole(0x133111ebu, 0x94d049bbu));
  z = xor_shifted(z, 31u);
  return Whole(z.x & 0xfffff800u, z.y);
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
  return logit + bias[id];
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

// What is left of the vocabulary: tokens down to `last`, and of them those with a chance of at least `least`.
struct Left {
  highest: f32,
  last: Place,
  least: f32,
}

// How much of a sum a token is: 1 where tokens are counted, else its chance beside the best one's.
fn share(id: u32, left: Left, is_count: bool) -> Whole {
  if (!reaches(place_of(id, false), left.last)) {
    return Whole();
  }
  let chance = exp((logits[id] - left.highest) / sampling.temperature);
  if (chance < left.least) {
    return Whole();
  }
  let scaled = chance * 256.0;
  let whole = u32(scaled);
  return select(Whole(u32((scaled - f32(whole)) * 4294967296.0), whole), Whole(1u, 0u), is_count);
}

fn add_to(bin: u32, amount: Whole) {
  let before = atomicAdd(&low[bin], amount.x);
  atomicAdd(&high[bin], amount.y + select(0u, 1u, before + amount.x < before));
}

fn amount_in(bin: u32) -> Whole {
  return Whole(atomicLoad(&low[bin]), atomicLoad(&high[bin]));
}

// The sum over all that is left.
fn sum(left: Left, lid: u32) -> Whole {
  workgroupBarrier();
  atomicStore(&low[lid], 0u);
  atomicStore(&high[lid], 0u);
  workgroupBarrier();
  var own = Whole();
  for (var id = lid; id < VOCABULARY; id += THREADS) {
    own = add64(own, share(id, left, false));
  }
  add_to(0u, own);
  workgroupBarrier();
  if (lid == 0u) {
    found = vec4<u32>(amount_in(0u), 0u, 0u);
  }
  return workgroupUniformLoad(&found).xy;
}

// The place of the token at which the sum over what is left, in the order of places, reaches `wanted`; the place of
// what comes last of all where it never does.
fn last_of(wanted: Whole, left: Left, is_count: bool, by_id: bool, lid: u32) -> Place {
  var last = Place();
  var missing = wanted;
  for (var round = select(0u, 4u, by_id); round < 8u; round++) {
    workgroupBarrier();
    atomicStore(&low[lid], 0u);
    atomicStore(&high[lid], 0u);
    workgroupBarrier();
    let shift = 24u - 8u * (round % 4u);
    let fixed = 0xffffff00u << shift;  // the bits that are found
    for (var id = lid; id < VOCABULARY; id += THREADS) {
      let place = place_of(id, by_id);
      let is_key = round < 4u;
      let part = select(place.id, place.key, is_key);
      let known = select(last.id, last.key, is_key);
      if ((part & fixed) == known && (is_key || place.key == last.key)) {
        let amount = share(id, left, is_count);
        if (any(amount != Whole())) {
          add_to((part >> shift) & 255u, amount);
        }
      }
    }
    workgroupBarrier();
    if (lid == 0u) {
      var bin = 255u;
      while (bin > 0u && less64(amount_in(bin), missing)) {
        // A difference is a sum with the complement.
        missing = add64(missing, add64(~amount_in(bin), Whole(1u, 0u)));
        bin--;
      }
      found = vec4<u32>(missing, bin, 0u);
    }
    let step = workgroupUniformLoad(&found);
    missing = step.xy;
    if (round < 4u) {
      last.key |= step.z << shift;
    } else {
      last.id |= step.z << shift;
    }
  }
  return last;
}

@compute @workgroup_size(THREADS)
fn main(@builtin(local_invocation_index) lid: u32) {
  var chosen = best(lid);
  let highest = workgroupUniformLoad(&values[0]);
  if (sampling.temperature > 0.0 && highest > NEVER) {
    var left = Left(highest, Place(key_of(NEVER) + 1u, 0u), 0.0);
    if (sampling.top_k > 0u && sampling.top_k < VOCABULARY) {
      left.last = last_of(Whole(sampling.top_k, 0u), left, true, false, lid);
    }
    if (sampling.top_p < 1.0) {
      let nucleus = scale64(sum(left, lid), Whole(0u, u32(sampling.top_p * 4294967296.0)));
      left.last = last_of(nucleus, left, false, false, lid);
    }
    left.least = sampling.min_p;
    let wanted = scale64(random_number(state.sampled), sum(left, lid));
    chosen = ~last_of(add64(wanted, Whole(1u, 0u)), left, false, sampling.top_p >= 1.0, lid).id;
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

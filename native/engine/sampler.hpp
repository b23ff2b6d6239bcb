// Chooses a token from logits.
#pragma once

#include <cstdint>
#include <span>
#include <utility>
#include <vector>

namespace sterna {

struct Sampling {
    float temperature = 0.0f;  // 0 is greedy
    std::int32_t top_k = 0;    // 0 is off
    float top_p = 1.0f;        // 1 is off
    float min_p = 0.0f;        // 0 is off
    float repetition_penalty = 1.0f;
    float presence_penalty = 0.0f, frequency_penalty = 0.0f;
    std::uint64_t seed = 0;
    std::uint64_t step = 0;               // tokens chosen for the sequence so far: (seed, step) fixes the random number
    std::vector<std::int32_t> seen;       // ids that the repetition penalty (arXiv 1909.05858) applies to
    std::vector<std::int32_t> generated;  // chosen ids, with repetitions, for presence and frequency penalty
    std::vector<std::pair<std::int32_t, float>> logit_bias;
    std::vector<std::int32_t> banned;  // ids that must not be chosen
    std::vector<std::uint32_t> mask;   // bit i % 32 of word i / 32: id i may be chosen; empty allows all
    std::int32_t logprobs = -1;        // how many of the most likely ids to report; -1: no log-probabilities at all
};

struct Choice {
    std::int32_t token = -1;                          // -1: no id may be chosen, or all logits are NaN
    float logprob = 0.0f;                             // if logprobs >= 0: log-softmax of the logits before any change
    std::vector<std::pair<std::int32_t, float>> top;  // likewise; the most likely first
};

// Chooses a token; changes `logits`. The order is: repetition penalty, presence and frequency penalty and logit bias,
// banned and masked ids, temperature, top-k, top-p, min-p. Ties go to the lowest id; NaN counts as minus infinity. The
// random number falls on ids in their order or, where there is a top-p, from the most likely on.
Choice choose(std::span<float> logits, const Sampling& sampling);

}  // namespace sterna

// From logits to a token.
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
    std::uint64_t step = 0;          // how many tokens the sequence has chosen: (seed, step) fixes the random number
    std::vector<std::int32_t> seen;  // ids that the repetition penalty (arXiv 1909.05858) applies to
    std::vector<std::int32_t> generated;  // ids, as often as they were chosen, for the other two
    std::vector<std::pair<std::int32_t, float>> logit_bias;
    std::vector<std::int32_t> banned;  // ids that must not be chosen
    std::vector<std::uint32_t> mask;   // bit i % 32 of word i / 32: id i may be chosen; empty allows all
    std::int32_t logprobs = -1;        // how many of the most likely ids to tell; -1: not even of the chosen one
};

struct Choice {
    std::int32_t token = -1;                          // -1: no id may be chosen, or all logits are NaN
    float logprob = 0.0f;                             // where asked: log-softmax of the logits as they came
    std::vector<std::pair<std::int32_t, float>> top;  // likewise, the most likely first
};

// Chooses a token; changes `logits`. Order: repetition penalty, presence and frequency penalty and logit bias, what is
// banned or masked, temperature, top-k, top-p, min-p. Ties go to the lowest id; NaN counts as minus infinity.
Choice choose(std::span<float> logits, const Sampling& sampling);

}  // namespace sterna

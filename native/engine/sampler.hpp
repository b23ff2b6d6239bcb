// From logits to a token.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace sterna {

struct Sampling {
    float temperature = 0.0f;  // 0 is greedy
    std::int32_t top_k = 0;    // 0 is off
    float top_p = 1.0f;        // 1 is off
    float min_p = 0.0f;        // 0 is off
    float repetition_penalty = 1.0f;
    std::uint64_t seed = 0;
    std::uint64_t step = 0;  // how many tokens the sequence has chosen: (seed, step) fixes the random number
    std::vector<std::int32_t> penalized;  // ids that the repetition penalty (arXiv 1909.05858) applies to
};

// Chooses a token; changes `logits`. Order: repetition penalty, temperature, top-k, top-p, min-p, as in Hugging Face.
// Ties go to the lowest id; NaN counts as minus infinity.
std::int32_t sample(std::span<float> logits, const Sampling& sampling);

}  // namespace sterna

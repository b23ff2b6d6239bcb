// The log-probability of one asked id in a row of logits.
#pragma once

#include <cstdint>
#include <span>

#include "../kernels/kernels.hpp"

namespace sterna {

struct Score {
    float logprob = 0.0f;  // log-softmax of the logits at the id, in nats
    float greedy = 0.0f;   // 1 where no other id has a larger logit, nor a lower id the same one; else 0
};

// Depends on the row alone, so the bits are the same in every batch and with any number of threads. `id` is within the
// row.
Score score(const Kernels& kernels, std::span<const float> logits, std::int32_t id);

}  // namespace sterna

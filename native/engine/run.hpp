// Everything a step sees while it runs.
#pragma once

#include <span>
#include <vector>

#include "attention_work.hpp"
#include "batch.hpp"
#include "buffer.hpp"
#include "slot.hpp"
#include "state_work.hpp"

namespace sterna {

struct Run {
    const Kernels& kernels;
    const Batch& batch;
    std::span<const Cache> caches;                  // one a cache group
    std::span<const AttentionWork> attention_work;  // likewise
    std::span<const StateWork> state_work;          // one a state group
    std::vector<Slot>& slots;
    std::span<const AdaptedRows> adapted;  // tokens with adapters
    const Buffer<float>& low_rank;         // [matrices of a group, tokens, low_rank_width]
    std::size_t low_rank_width;
    std::span<Buffer<float>> scratch;  // one a thread
    std::size_t n_threads;
};

}  // namespace sterna

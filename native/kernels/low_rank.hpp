// Adds products with the narrow matrix B of a low-rank update, in float32 or float16, to rows of float32. Every sum
// runs over the rank in order, one column in each lane, so it has the same bits on every ISA and beside any other
// tokens.
#pragma once

#include "float_dot.hpp"

namespace sterna {
namespace {

// Sixteen columns, or the last ones, of T tokens.
template <class Source, std::size_t T>
void add_low_rank_panel(const LowRankTask& task, std::size_t column, std::size_t token) {
    const std::uint8_t* panel = task.panels + column * task.rank * Source::kBytes;
    const float* hidden = task.hidden.values + token * task.hidden.stride;
    const std::size_t left = task.columns - column, n = left < kLanes ? left : kLanes;
    Lanes sums[T];
    for (std::size_t t = 0; t < T; ++t) sums[t] = splat(0.0f);
    for (std::size_t j = 0; j < task.rank; ++j) {
        const std::uint8_t* place = panel + j * kLanes * Source::kBytes;
        if (T == 1) __builtin_prefetch(place + 4096);  // one token waits for memory
        const Lanes b = Source::load16(place);
        for (std::size_t t = 0; t < T; ++t) sums[t] = fma(splat(hidden[t * task.hidden.stride + j]), b, sums[t]);
    }
    for (std::size_t t = 0; t < T; ++t) {
        float* out = task.out.data + (token + t) * task.out.stride + column;
        const Lanes total = load_part(out, n) + sums[t];
        float values[kLanes];
        store(n == kLanes ? out : values, total);
        if (n < kLanes) std::memcpy(out, values, n * sizeof(float));
    }
}

// All columns of T tokens at a time, since the panels of a call stay in L1.
template <class Source>
void add_low_rank_panels(const LowRankTask& task) {
    std::size_t t = 0;
    for (; t + 4 <= task.n_tokens; t += 4)
        for (std::size_t c = 0; c < task.columns; c += kLanes) add_low_rank_panel<Source, 4>(task, c, t);
    for (; t < task.n_tokens; ++t)
        for (std::size_t c = 0; c < task.columns; c += kLanes) add_low_rank_panel<Source, 1>(task, c, t);
}

void add_low_rank(const LowRankTask& task) {
    if (task.encoding == Encoding::f32) return add_low_rank_panels<LoadF32>(task);
    add_low_rank_panels<LoadF16>(task);
}

}  // namespace
}  // namespace sterna

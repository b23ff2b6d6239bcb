// Rows of float matrices (F32, F16, BF16) times float32 activations, written once for every ISA on lanes.hpp. The sum
// of a row and a token runs over 16 lanes in the order of `dot`, whatever other rows and tokens are in the call.
#pragma once

#include "float_ops.hpp"

namespace sterna {
namespace {

struct LoadF32 {
    static constexpr std::size_t kBytes = 4;
    static Lanes load16(const std::uint8_t* p) { return load(reinterpret_cast<const float*>(p)); }
};

struct LoadF16 {
    static constexpr std::size_t kBytes = 2;
    static Lanes load16(const std::uint8_t* p) { return load_half(reinterpret_cast<const std::uint16_t*>(p)); }
};

struct LoadBf16 {
    static constexpr std::size_t kBytes = 2;
    static Lanes load16(const std::uint8_t* p) {
        float values[kLanes];
        for (int i = 0; i < kLanes; ++i) {
            std::uint16_t h;
            std::memcpy(&h, p + 2 * i, 2);
            const std::uint32_t bits = static_cast<std::uint32_t>(h) << 16;
            std::memcpy(&values[i], &bits, 4);
        }
        return load(values);
    }
};

// Rows of a tile of several tokens, whose sums stay in registers. For one token there are as many as hide the latency
// of an addition.
#if defined(__AVX512F__)
constexpr std::size_t kTileRowsOfFloats = 4;
#else
constexpr std::size_t kTileRowsOfFloats = 1;
#endif
constexpr std::size_t kTileTokensOfFloats = 4, kLoneTokenRows = 4;

template <class Source, std::size_t R, std::size_t T>
void float_tile(const FloatTask& task, std::size_t row, std::size_t token) {
    const std::uint8_t* rows = task.rows.data + row * task.rows.stride;
    const float* x = task.x.values + token * task.x.stride;
    Lanes sums[R][T];
    for (std::size_t r = 0; r < R; ++r)
        for (std::size_t t = 0; t < T; ++t) sums[r][t] = splat(0.0f);
    for (std::size_t k = 0; k < task.cols; k += kLanes) {
        Lanes w[R];
        for (std::size_t r = 0; r < R; ++r) {
            const std::uint8_t* place = rows + r * task.rows.stride + k * Source::kBytes;
            __builtin_prefetch(place + 4096);
            w[r] = Source::load16(place);
        }
        for (std::size_t t = 0; t < T; ++t) {
            const Lanes values = load(x + t * task.x.stride + k);
            for (std::size_t r = 0; r < R; ++r) sums[r][t] = fma(w[r], values, sums[r][t]);
        }
    }
    for (std::size_t r = 0; r < R; ++r)
        for (std::size_t t = 0; t < T; ++t) task.out.data[(token + t) * task.out.stride + row + r] = sum(sums[r][t]);
}

// T tokens from `token` on and the rows from `row` on, R at a time, then one by one.
template <class Source, std::size_t R, std::size_t T>
void float_tiles(const FloatTask& task, std::size_t row, std::size_t token) {
    for (; row + R <= task.rows.count; row += R) float_tile<Source, R, T>(task, row, token);
    if constexpr (R > 1) float_tiles<Source, 1, T>(task, row, token);
}

template <class Source>
void float_rows(const FloatTask& task) {
    std::size_t t = 0;
    for (; t + kTileTokensOfFloats <= task.n_tokens; t += kTileTokensOfFloats)
        float_tiles<Source, kTileRowsOfFloats, kTileTokensOfFloats>(task, 0, t);
    for (; t < task.n_tokens; ++t) float_tiles<Source, kLoneTokenRows, 1>(task, 0, t);
}

void float_dot(const FloatTask& task) {
    if (task.encoding == Encoding::f32) return float_rows<LoadF32>(task);
    if (task.encoding == Encoding::f16) return float_rows<LoadF16>(task);
    return float_rows<LoadBf16>(task);
}

}  // namespace
}  // namespace sterna

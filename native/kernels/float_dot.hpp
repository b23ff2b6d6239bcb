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

template <class Source, int T>
void float_row(const std::uint8_t* row, const float* x, std::size_t x_stride, std::size_t cols, float* out,
               std::size_t out_stride) {
    Lanes acc[T];
    for (int t = 0; t < T; ++t) acc[t] = splat(0.0f);
    for (std::size_t k = 0; k < cols; k += kLanes) {
        __builtin_prefetch(row + k * Source::kBytes + 4096);
        const Lanes w = Source::load16(row + k * Source::kBytes);
        for (int t = 0; t < T; ++t) acc[t] = fma(w, load(x + static_cast<std::size_t>(t) * x_stride + k), acc[t]);
    }
    for (int t = 0; t < T; ++t) out[static_cast<std::size_t>(t) * out_stride] = sum(acc[t]);
}

template <class Source>
void float_rows(const FloatTask& task) {
    for (std::size_t r = 0; r < task.rows.count; ++r) {
        const std::uint8_t* row = task.rows.data + r * task.rows.stride;
        const auto tokens = [&]<int T>(std::size_t t) {
            float_row<Source, T>(row, task.x.values + t * task.x.stride, task.x.stride, task.cols,
                                 task.out.data + t * task.out.stride + r, task.out.stride);
        };
        std::size_t t = 0;
        for (; t + 4 <= task.n_tokens; t += 4) tokens.template operator()<4>(t);
        for (; t < task.n_tokens; ++t) tokens.template operator()<1>(t);
    }
}

void float_dot(const FloatTask& task) {
    if (task.encoding == Encoding::f32) return float_rows<LoadF32>(task);
    if (task.encoding == Encoding::f16) return float_rows<LoadF16>(task);
    return float_rows<LoadBf16>(task);
}

}  // namespace
}  // namespace sterna

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
void float_rows(const std::uint8_t* rows, std::size_t row_bytes, std::size_t n_rows, const float* x,
                std::size_t x_stride, std::size_t n_tokens, std::size_t cols, float* out, std::size_t out_stride) {
    for (std::size_t r = 0; r < n_rows; ++r) {
        const std::uint8_t* row = rows + r * row_bytes;
        std::size_t t = 0;
        for (; t + 4 <= n_tokens; t += 4)
            float_row<Source, 4>(row, x + t * x_stride, x_stride, cols, out + t * out_stride + r, out_stride);
        for (; t < n_tokens; ++t)
            float_row<Source, 1>(row, x + t * x_stride, x_stride, cols, out + t * out_stride + r, out_stride);
    }
}

void float_dot(Encoding encoding, const std::uint8_t* rows, std::size_t row_bytes, std::size_t n_rows, const float* x,
               std::size_t x_stride, std::size_t n_tokens, std::size_t cols, float* out, std::size_t out_stride) {
    const auto multiply = encoding == Encoding::f32   ? float_rows<LoadF32>
                          : encoding == Encoding::f16 ? float_rows<LoadF16>
                                                      : float_rows<LoadBf16>;
    multiply(rows, row_bytes, n_rows, x, x_stride, n_tokens, cols, out, out_stride);
}

}  // namespace
}  // namespace sterna

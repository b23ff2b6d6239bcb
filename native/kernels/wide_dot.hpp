// Rows of Q8_0 and Q6_K matrices times activations of 15 bits, in integers.
//
// An activation becomes v = 128 * high + low, high and low int8, with one scale a token: the error is at most
// max|x| / 32512, a hundred times less than that of int8, for twice its multiply-adds. Products with the codes of a
// block are summed exactly in eight lanes; lane i takes bytes 4 i .. 4 i + 3 of every 32 codes, as the dot product
// instructions of x86 and ARM do. Blocks are scaled and added in float32, lane by lane in order of the columns, so
// every ISA gives the same bits.
//
// An ISA may bring block sums of its own (wide_sums_*); those here are the reference.
#pragma once

#include "float_ops.hpp"

namespace sterna {
namespace {

constexpr int kWideLanes = 8;

struct WideSums {
    std::int32_t high[kWideLanes], low[kWideLanes];
};

void quantize_wide(const float* x, std::size_t n, std::int8_t* high, std::int8_t* low, std::int16_t* high_sums,
                   std::int16_t* low_sums, float* scale) {
    Lanes largest = splat(1e-5f);
    for (std::size_t k = 0; k < n; k += kLanes) largest = max(largest, abs(load(x + k)));
    *scale = 16256.0f / max_of(largest);  // 127 * 128
    for (std::size_t group = 0; group < n / 16; ++group) {
        int high_sum = 0, low_sum = 0;
        float values[kLanes];
        const Lanes rounded = round_even(load(x + 16 * group) * splat(*scale));
        store(values, max(min(rounded, splat(16256.0f)), splat(-16256.0f)));
        for (std::size_t i = 0; i < 16; ++i) {
            const int v = static_cast<int>(values[i]);
            const int h = (v + 64) >> 7, l = v - 128 * h;
            high[16 * group + i] = static_cast<std::int8_t>(h);
            low[16 * group + i] = static_cast<std::int8_t>(l);
            high_sum += h;
            low_sum += l;
        }
        high_sums[group] = static_cast<std::int16_t>(high_sum);
        low_sums[group] = static_cast<std::int16_t>(low_sum);
    }
}

// 32 columns of Q8_0 behind their scale.
[[maybe_unused]] WideSums wide_sums_q8_0(const std::int8_t* codes, const std::int8_t* high, const std::int8_t* low) {
    WideSums sums = {};
    for (int k = 0; k < 32; ++k) {
        sums.high[k / 4] += codes[k] * high[k];
        sums.low[k / 4] += codes[k] * low[k];
    }
    return sums;
}

// 256 columns of Q6_K (layout: decode.hpp), times their sub-scales. A code means code - 32: the 32 leaves through the
// sums of groups, two groups a lane.
[[maybe_unused]] WideSums wide_sums_q6_k(const std::uint8_t* block, const std::int8_t* high, const std::int8_t* low,
                                         const std::int16_t* high_sums, const std::int16_t* low_sums) {
    WideSums sums = {};
    const auto* scales = reinterpret_cast<const std::int8_t*>(block + 192);
    for (int half = 0; half < 2; ++half)
        for (int q = 0; q < 4; ++q)
            for (int i = 0; i < 32; ++i) {
                const int nibble = (block[64 * half + 32 * (q & 1) + i] >> (4 * (q / 2))) & 15;
                const int code = nibble | (((block[128 + 32 * half + i] >> (2 * q)) & 3) << 4);
                const int k = 128 * half + 32 * q + i;
                sums.high[i / 4] += code * scales[k / 16] * high[k];
                sums.low[i / 4] += code * scales[k / 16] * low[k];
            }
    for (int g = 0; g < 16; ++g) {
        sums.high[g / 2] -= 32 * scales[g] * high_sums[g];
        sums.low[g / 2] -= 32 * scales[g] * low_sums[g];
    }
    return sums;
}

inline void add_scaled(const WideSums& sums, float d, float* acc) {
    for (int i = 0; i < kWideLanes; ++i)
        acc[i] += d * (static_cast<float>(sums.high[i]) * 128.0f + static_cast<float>(sums.low[i]));
}

inline float fold(float* acc) {
    for (int w = kWideLanes / 2; w > 0; w /= 2)
        for (int i = 0; i < w; ++i) acc[i] += acc[i + w];
    return acc[0];
}

inline float half_at(const std::uint8_t* p) {
    std::uint16_t h;
    std::memcpy(&h, p, 2);
    return half_to_float(h);
}

using SumsQ8 = WideSums (*)(const std::int8_t*, const std::int8_t*, const std::int8_t*);
using SumsQ6 = WideSums (*)(const std::uint8_t*, const std::int8_t*, const std::int8_t*, const std::int16_t*,
                            const std::int16_t*);

template <SumsQ8 sums_q8_0, SumsQ6 sums_q6_k>
void wide_dot(Encoding encoding, const std::uint8_t* rows, std::size_t row_bytes, std::size_t n_rows,
              const WideActivations& x, std::size_t n_tokens, std::size_t cols, float* out, std::size_t out_stride) {
    for (std::size_t r = 0; r < n_rows; ++r)
        for (std::size_t t = 0; t < n_tokens; ++t) {
            const std::uint8_t* row = rows + r * row_bytes;
            const std::int8_t *high = x.high + t * x.stride, *low = x.low + t * x.stride;
            const std::int16_t *high_sums = x.high_sums + t * x.stride / 16, *low_sums = x.low_sums + t * x.stride / 16;
            float acc[kWideLanes] = {};
            if (encoding == Encoding::q8_0) {
                for (std::size_t k = 0; k < cols; k += 32, row += 34) {
                    __builtin_prefetch(row + 4096);
                    const auto* codes = reinterpret_cast<const std::int8_t*>(row + 2);
                    add_scaled(sums_q8_0(codes, high + k, low + k), half_at(row), acc);
                }
            } else {
                for (std::size_t k = 0; k < cols; k += 256, row += 210) {
                    for (int line = 0; line < 256; line += 64) __builtin_prefetch(row + 4096 + line);
                    add_scaled(sums_q6_k(row, high + k, low + k, high_sums + k / 16, low_sums + k / 16),
                               half_at(row + 208), acc);
                }
            }
            out[t * out_stride + r] = fold(acc) / x.scales[t];
        }
}

}  // namespace
}  // namespace sterna

// Rows of Q8_0 and Q6_K matrices times activations of 15 bits, in integers.
//
// An activation becomes v = 128 * high + low, high and low int8, with one scale a token: the error is at most
// max|x| / 32512, a hundred times less than that of int8, for twice its multiply-adds. Products with the codes of a
// block are summed exactly in eight lanes; lane i takes bytes 4 i .. 4 i + 3 of every 32 codes, as the dot product
// instructions of x86 and ARM do. Blocks are scaled and added in float32, lane by lane in order of the columns, so
// every ISA gives the same bits.
//
// An ISA may bring block sums of its own; WideReference says what they must be.
#pragma once

#include "float_ops.hpp"

namespace sterna {
namespace {

constexpr int kWideLanes = 8;

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

inline float fold(float* lanes) {
    for (int w = kWideLanes / 2; w > 0; w /= 2)
        for (int i = 0; i < w; ++i) lanes[i] += lanes[i + w];
    return lanes[0];
}

inline float half_at(const std::uint8_t* p) {
    std::uint16_t h;
    std::memcpy(&h, p, 2);
    return half_to_float(h);
}

struct WideReference {
    struct Sums {
        float lanes[kWideLanes];
    };
    static Sums zero() { return {}; }
    static float total(Sums& sums) { return fold(sums.lanes); }

    static void add(Sums& sums, const std::int32_t* high, const std::int32_t* low, float d) {
        for (int i = 0; i < kWideLanes; ++i)
            sums.lanes[i] += d * (static_cast<float>(high[i]) * 128.0f + static_cast<float>(low[i]));
    }

    // 32 columns of Q8_0.
    static void add_q8_0(Sums& sums, const std::uint8_t* block, const std::int8_t* high, const std::int8_t* low) {
        const auto* codes = reinterpret_cast<const std::int8_t*>(block + 2);
        std::int32_t high_sums[kWideLanes] = {}, low_sums[kWideLanes] = {};
        for (int k = 0; k < 32; ++k) {
            high_sums[k / 4] += codes[k] * high[k];
            low_sums[k / 4] += codes[k] * low[k];
        }
        add(sums, high_sums, low_sums, half_at(block));
    }

    // 256 columns of Q6_K (layout: decode.hpp), times their sub-scales. A code means code - 32: the 32 leaves through
    // the sums of groups, two groups a lane.
    static void add_q6_k(Sums& sums, const std::uint8_t* block, const std::int8_t* high, const std::int8_t* low,
                         const std::int16_t* high_groups, const std::int16_t* low_groups) {
        std::int32_t high_sums[kWideLanes] = {}, low_sums[kWideLanes] = {};
        const auto* scales = reinterpret_cast<const std::int8_t*>(block + 192);
        for (int half = 0; half < 2; ++half)
            for (int q = 0; q < 4; ++q)
                for (int i = 0; i < 32; ++i) {
                    const int nibble = (block[64 * half + 32 * (q & 1) + i] >> (4 * (q / 2))) & 15;
                    const int code = nibble | (((block[128 + 32 * half + i] >> (2 * q)) & 3) << 4);
                    const int k = 128 * half + 32 * q + i;
                    high_sums[i / 4] += code * scales[k / 16] * high[k];
                    low_sums[i / 4] += code * scales[k / 16] * low[k];
                }
        for (int g = 0; g < 16; ++g) {
            high_sums[g / 2] -= 32 * scales[g] * high_groups[g];
            low_sums[g / 2] -= 32 * scales[g] * low_groups[g];
        }
        add(sums, high_sums, low_sums, half_at(block + 208));
    }
};

template <class Blocks>
void wide_dot(Encoding encoding, const std::uint8_t* rows, std::size_t row_bytes, std::size_t n_rows,
              const WideActivations& x, std::size_t n_tokens, std::size_t cols, float* out, std::size_t out_stride) {
    for (std::size_t r = 0; r < n_rows; ++r)
        for (std::size_t t = 0; t < n_tokens; ++t) {
            const std::uint8_t* block = rows + r * row_bytes;
            const std::int8_t *high = x.high + t * x.stride, *low = x.low + t * x.stride;
            const std::int16_t *high_sums = x.high_sums + t * x.stride / 16, *low_sums = x.low_sums + t * x.stride / 16;
            auto sums = Blocks::zero();
            if (encoding == Encoding::q8_0) {
                for (std::size_t k = 0; k < cols; k += 32, block += 34) {
                    __builtin_prefetch(block + 4096);
                    Blocks::add_q8_0(sums, block, high + k, low + k);
                }
            } else {
                for (std::size_t k = 0; k < cols; k += 256, block += 210) {
                    for (int line = 0; line < 256; line += 64) __builtin_prefetch(block + 4096 + line);
                    Blocks::add_q6_k(sums, block, high + k, low + k, high_sums + k / 16, low_sums + k / 16);
                }
            }
            out[t * out_stride + r] = Blocks::total(sums) / x.scales[t];
        }
}

}  // namespace
}  // namespace sterna

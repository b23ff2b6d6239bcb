// Rows of Q4_0, Q8_0 and Q6_K matrices times activations of 15 bits, in integers.
//
// An activation becomes v = 128 * high + low, high and low int8, with one scale a token: the error is at most
// max|x| / 32512, a hundred times less than that of int8, for twice its multiply-adds. Products with the codes of a
// block are summed exactly in eight lanes; lane i takes bytes 4 i .. 4 i + 3 of every 32 codes, as the dot product
// instructions of x86 and ARM do. Blocks are scaled and added in float32, lane by lane in order of the columns, even
// blocks apart from odd ones (one addition hides behind the other), so every ISA gives the same bits.
//
// An encoding is a type below and an `add` of its blocks; an ISA may bring `add`s of its own, WideReference says what
// they must be.
#pragma once

#include "float_ops.hpp"

namespace sterna {
namespace {

constexpr int kWideLanes = 8;

void quantize_wide(const float* x, std::size_t n, std::int8_t* high, std::int8_t* low, std::int16_t* high_sums,
                   std::int16_t* low_sums, std::int32_t* eights, float* scale) {
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
        for (std::size_t i = 0; i < 4; ++i)
            eights[4 * group + i] = -8 * static_cast<std::int32_t>((values[4 * i] + values[4 * i + 1]) +
                                                                   (values[4 * i + 2] + values[4 * i + 3]));
        high_sums[group] = static_cast<std::int16_t>(high_sum);
        low_sums[group] = static_cast<std::int16_t>(low_sum);
    }
}

inline float fold(float* lanes) {
    for (int w = kWideLanes / 2; w > 0; w /= 2)
        for (int i = 0; i < w; ++i) lanes[i] += lanes[i + w];
    return lanes[0];
}

// Layouts: decode.hpp. kScale: where in a block its float16 scale lies.
struct Q4_0 {
    static constexpr std::size_t kValues = 32, kBytes = 18, kScale = 0;
};
struct Q8_0 {
    static constexpr std::size_t kValues = 32, kBytes = 34, kScale = 0;
};
struct Q6_K {
    static constexpr std::size_t kValues = 256, kBytes = 210, kScale = 208;
};

// A token's activations from some column on; the members are those of WideActivations.
struct WideColumns {
    const std::int8_t *high, *low;
    const std::int16_t *high_sums, *low_sums;
    const std::int32_t* eights;

    WideColumns from(std::size_t k) const {
        return {high + k, low + k, high_sums + k / 16, low_sums + k / 16, eights + k / 4};
    }
};

inline WideColumns columns_of(const WideActivations& x, std::size_t token) {
    return WideColumns{x.high, x.low, x.high_sums, x.low_sums, x.eights}.from(token * x.stride);
}

struct WideReference {
    struct Sums {
        float lanes[kWideLanes];
    };
    static Sums zero() { return {}; }
    static float total(Sums& even, const Sums& odd) {
        for (int i = 0; i < kWideLanes; ++i) even.lanes[i] += odd.lanes[i];
        return fold(even.lanes);
    }

    static void scale(Sums& sums, const std::int32_t* high, const std::int32_t* low, float d) {
        for (int i = 0; i < kWideLanes; ++i)
            sums.lanes[i] += d * (static_cast<float>(high[i]) * 128.0f + static_cast<float>(low[i]));
    }

    static void add(Sums& sums, Q4_0, const std::uint8_t* block, float d, const WideColumns& x) {
        std::int32_t high_sums[kWideLanes] = {}, low_sums[kWideLanes] = {};
        for (int k = 0; k < 32; ++k) {
            const int code = (block[2 + k % 16] >> (k / 16 * 4) & 15) - 8;
            high_sums[k / 4] += code * x.high[k];
            low_sums[k / 4] += code * x.low[k];
        }
        scale(sums, high_sums, low_sums, d);
    }

    static void add(Sums& sums, Q8_0, const std::uint8_t* block, float d, const WideColumns& x) {
        const auto* codes = reinterpret_cast<const std::int8_t*>(block + 2);
        std::int32_t high_sums[kWideLanes] = {}, low_sums[kWideLanes] = {};
        for (int k = 0; k < 32; ++k) {
            high_sums[k / 4] += codes[k] * x.high[k];
            low_sums[k / 4] += codes[k] * x.low[k];
        }
        scale(sums, high_sums, low_sums, d);
    }

    // The sub-scales belong to the integers. A code means code - 32: the 32 leaves through the sums of groups, two
    // groups a lane.
    static void add(Sums& sums, Q6_K, const std::uint8_t* block, float d, const WideColumns& x) {
        std::int32_t high_sums[kWideLanes] = {}, low_sums[kWideLanes] = {};
        const auto* scales = reinterpret_cast<const std::int8_t*>(block + 192);
        for (int half = 0; half < 2; ++half)
            for (int q = 0; q < 4; ++q)
                for (int i = 0; i < 32; ++i) {
                    const int nibble = (block[64 * half + 32 * (q & 1) + i] >> (4 * (q / 2))) & 15;
                    const int code = nibble | (((block[128 + 32 * half + i] >> (2 * q)) & 3) << 4);
                    const int k = 128 * half + 32 * q + i;
                    high_sums[i / 4] += code * scales[k / 16] * x.high[k];
                    low_sums[i / 4] += code * scales[k / 16] * x.low[k];
                }
        for (int g = 0; g < 16; ++g) {
            high_sums[g / 2] -= 32 * scales[g] * x.high_sums[g];
            low_sums[g / 2] -= 32 * scales[g] * x.low_sums[g];
        }
        scale(sums, high_sums, low_sums, d);
    }
};

// Scales are converted four at a time, by way of an integer register: one by one they would cost a Q4_0 block a quarter
// of its vector instructions.
template <class Blocks, class Format>
void wide_rows(Format format, const std::uint8_t* rows, std::size_t row_bytes, std::size_t n_rows,
               const WideActivations& x, std::size_t n_tokens, std::size_t cols, float* out, std::size_t out_stride) {
    constexpr std::size_t kStep = 4, kStepBytes = kStep * Format::kBytes;
    const std::size_t blocks = cols / Format::kValues;
    for (std::size_t r = 0; r < n_rows; ++r)
        for (std::size_t t = 0; t < n_tokens; ++t) {
            const std::uint8_t* step = rows + r * row_bytes;
            WideColumns columns = columns_of(x, t);
            auto even = Blocks::zero(), odd = Blocks::zero();
            float scales[kStep];
            const auto load_scales = [&](std::size_t n) {
                std::uint64_t halfs = 0;
                for (std::size_t i = 0; i < n; ++i) {
                    std::uint16_t half;
                    std::memcpy(&half, step + i * Format::kBytes + Format::kScale, 2);
                    halfs |= static_cast<std::uint64_t>(half) << (16 * i);
                }
                store_halfs(scales, halfs);
            };
            // Prefetches are spread over the blocks: a burst of them fills the queue of misses.
            const auto add = [&](auto& sums, std::size_t i) {
                const std::size_t begin = (i * Format::kBytes + 63) / 64 * 64, end = (i + 1) * Format::kBytes;
                for (std::size_t line = begin; line < end; line += 64) __builtin_prefetch(step + 4096 + line);
                Blocks::add(sums, format, step + i * Format::kBytes, scales[i], columns.from(i * Format::kValues));
            };
            std::size_t left = blocks;
            for (; left >= kStep; left -= kStep) {
                load_scales(kStep);
                add(even, 0);
                add(odd, 1);
                add(even, 2);
                add(odd, 3);
                step += kStepBytes;
                columns = columns.from(kStep * Format::kValues);
            }
            load_scales(left);
            for (std::size_t i = 0; i < left; ++i) add(i % 2 ? odd : even, i);
            out[t * out_stride + r] = Blocks::total(even, odd) / x.scales[t];
        }
}

template <class Blocks>
void wide_dot(Encoding encoding, const std::uint8_t* rows, std::size_t row_bytes, std::size_t n_rows,
              const WideActivations& x, std::size_t n_tokens, std::size_t cols, float* out, std::size_t out_stride) {
    const auto as = [&](auto format) {
        wide_rows<Blocks>(format, rows, row_bytes, n_rows, x, n_tokens, cols, out, out_stride);
    };
    switch (encoding) {
        case Encoding::q4_0:
            return as(Q4_0{});
        case Encoding::q8_0:
            return as(Q8_0{});
        case Encoding::q6_k:
            return as(Q6_K{});
        default:
            return;  // Linear asks for no other (operand_of)
    }
}

}  // namespace
}  // namespace sterna

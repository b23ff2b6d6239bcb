// Rows of Q4_0, Q8_0 and Q6_K matrices times activations of 15 bits, in integers.
//
// An activation becomes v = 128 * high + low, high and low int8, with one scale a token: the error is at most
// max|x| / 32512, a hundred times less than that of int8, for twice its multiply-adds. Products with the codes of a
// block are summed exactly in eight lanes; lane i takes bytes 4 i .. 4 i + 3 of every 32 codes, as the dot product
// instructions of x86 and ARM do. Blocks are scaled and added in float32, lane by lane in order of the columns, even
// blocks apart from odd ones (one addition hides behind the other), so every ISA gives the same bits.
//
// An encoding is a type below and an `add` of one block for T tokens; an ISA may bring `add`s of its own, WideReference
// says what they must be. Up to four tokens share the unpacking of a block.
#pragma once

#include <utility>

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

// Layouts: decode.hpp. kScale: where in a block its float16 scale lies; kStep: blocks whose scales are converted
// together.
struct Q4_0 {
    static constexpr std::size_t kValues = 32, kBytes = 18, kScale = 0, kStep = 4;
};
struct Q8_0 {
    static constexpr std::size_t kValues = 32, kBytes = 34, kScale = 0, kStep = 4;
};
struct Q6_K {
    static constexpr std::size_t kValues = 256, kBytes = 210, kScale = 208, kStep = 2;
};

// The activations of some tokens from some column on; the members are those of WideActivations.
struct WideColumns {
    const std::int8_t *high, *low;
    const std::int16_t *high_sums, *low_sums;
    const std::int32_t* eights;
    std::size_t stride;

    WideColumns from(std::size_t k) const {
        return {high + k, low + k, high_sums + k / 16, low_sums + k / 16, eights + k / 4, stride};
    }
    WideColumns token(std::size_t t) const { return from(t * stride); }
};

struct WideReference {
    struct Sums {
        float lanes[kWideLanes];
    };
    static Sums zero() { return {}; }
    static float total(Sums& even, const Sums& odd) {
        for (int i = 0; i < kWideLanes; ++i) even.lanes[i] += odd.lanes[i];
        return fold(even.lanes);
    }

    template <std::size_t T, class Format>
    static void add(Sums* sums, Format format, const std::uint8_t* block, float d, const WideColumns& x) {
        for (std::size_t t = 0; t < T; ++t) add_one(sums[t], format, block, d, x.token(t));
    }

    static void scale(Sums& sums, const std::int32_t* high, const std::int32_t* low, float d) {
        for (int i = 0; i < kWideLanes; ++i)
            sums.lanes[i] += d * (static_cast<float>(high[i]) * 128.0f + static_cast<float>(low[i]));
    }

    static void add_one(Sums& sums, Q4_0, const std::uint8_t* block, float d, const WideColumns& x) {
        std::int32_t high_sums[kWideLanes] = {}, low_sums[kWideLanes] = {};
        for (int k = 0; k < 32; ++k) {
            const int code = (block[2 + k % 16] >> (k / 16 * 4) & 15) - 8;
            high_sums[k / 4] += code * x.high[k];
            low_sums[k / 4] += code * x.low[k];
        }
        scale(sums, high_sums, low_sums, d);
    }

    static void add_one(Sums& sums, Q8_0, const std::uint8_t* block, float d, const WideColumns& x) {
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
    static void add_one(Sums& sums, Q6_K, const std::uint8_t* block, float d, const WideColumns& x) {
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

// Scales are converted several at a time, by way of an integer register: one by one they would cost a Q4_0 block a
// quarter of its vector instructions.
template <std::size_t T, class Blocks, class Format>
void wide_rows(Format format, const std::uint8_t* rows, std::size_t row_bytes, std::size_t n_rows, WideColumns x,
               const float* token_scales, std::size_t cols, float* out, std::size_t out_stride) {
    for (std::size_t r = 0; r < n_rows; ++r) {
        const std::uint8_t* block = rows + r * row_bytes;
        WideColumns columns = x;
        typename Blocks::Sums even[T], odd[T];
        for (std::size_t t = 0; t < T; ++t) even[t] = odd[t] = Blocks::zero();
        const auto take = [&]<std::size_t... I>(std::index_sequence<I...>) {
            constexpr std::size_t kCount = sizeof...(I), kBytes = Format::kBytes;
            std::uint64_t halfs = 0;
            for (std::size_t i = 0; i < kCount; ++i) {
                std::uint16_t half;
                std::memcpy(&half, block + i * kBytes + Format::kScale, 2);
                halfs |= static_cast<std::uint64_t>(half) << (16 * i);
            }
            float scales[4];
            store_halfs(scales, halfs);
            // Prefetches are spread over the blocks: a burst of them fills the queue of misses.
            const auto prefetch = [&](std::size_t i) {
                for (std::size_t line = (i * kBytes + 63) / 64 * 64; line < (i + 1) * kBytes; line += 64)
                    __builtin_prefetch(block + 4096 + line);
            };
            ((prefetch(I), Blocks::template add<T>(I % 2 ? odd : even, format, block + I * kBytes, scales[I],
                                                   columns.from(I * Format::kValues))),
             ...);
            block += kCount * kBytes;
            columns = columns.from(kCount * Format::kValues);
        };
        std::size_t left = cols / Format::kValues;
        for (; left >= Format::kStep; left -= Format::kStep) take(std::make_index_sequence<Format::kStep>());
        if (left >= 2) take(std::make_index_sequence<2>());
        if (left % 2 != 0) take(std::make_index_sequence<1>());
        for (std::size_t t = 0; t < T; ++t) out[t * out_stride + r] = Blocks::total(even[t], odd[t]) / token_scales[t];
    }
}

template <class Blocks, class Format>
void wide_tokens(Format format, const std::uint8_t* rows, std::size_t row_bytes, std::size_t n_rows,
                 const WideActivations& x, std::size_t n_tokens, std::size_t cols, float* out, std::size_t out_stride) {
    constexpr decltype(&wide_rows<1, Blocks, Format>) kByTokens[] = {
        wide_rows<1, Blocks, Format>, wide_rows<2, Blocks, Format>, wide_rows<3, Blocks, Format>,
        wide_rows<4, Blocks, Format>};
    const WideColumns all{x.high, x.low, x.high_sums, x.low_sums, x.eights, x.stride};
    for (std::size_t t = 0, n; t < n_tokens; t += n) {
        n = n_tokens - t < 4 ? n_tokens - t : 4;
        kByTokens[n - 1](format, rows, row_bytes, n_rows, all.token(t), x.scales + t, cols, out + t * out_stride,
                         out_stride);
    }
}

template <class Blocks>
void wide_dot(Encoding encoding, const std::uint8_t* rows, std::size_t row_bytes, std::size_t n_rows,
              const WideActivations& x, std::size_t n_tokens, std::size_t cols, float* out, std::size_t out_stride) {
    const auto as = [&](auto format) {
        wide_tokens<Blocks>(format, rows, row_bytes, n_rows, x, n_tokens, cols, out, out_stride);
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

// Rows of Q4_0, Q8_0 and Q6_K matrices times int15 activations, in integers.
//
// An activation is quantised to v = 128 * high + low, high and low int8, with one scale per token. The error is at most
// max|x| / 32512, a hundredth of that of int8, for twice the multiply-adds. Products with the codes of a block are
// summed exactly in eight lanes; lane i takes bytes 4 i .. 4 i + 3 of every 32 codes, as the dot product instructions
// of x86 and ARM do. Blocks are scaled and added in float32, lane by lane in the order of the columns. Even and odd
// blocks have separate sums, so that one addition hides behind the other. Every ISA keeps this order and gives the same
// bits.
//
// An encoding is a type below and a function `add`, which adds one block for T tokens. An ISA may have `add` functions
// of its own; Int15Reference defines their results. Up to four tokens share the unpacking of a block.
#pragma once

#include <utility>

#include "blocks.hpp"
#include "float_ops.hpp"

namespace sterna {
namespace {

constexpr int kInt15Lanes = 8;

typedef std::int16_t Int16x16 __attribute__((vector_size(32)));
typedef std::int8_t Int8x16 __attribute__((vector_size(16)));

void quantize_int15(const float* x, std::size_t n, const Int15Row& out) {
    Lanes largest = splat(1e-5f);
    for (std::size_t k = 0; k < n; k += kLanes) largest = max(largest, abs(load(x + k)));
    const float scale = 16256.0f / max_of(largest);  // 127 * 128
    *out.scale = scale;
    for (std::size_t group = 0; group < n / 16; ++group) {
        const Lanes rounded = round_even(load(x + 16 * group) * splat(scale));
        std::int16_t* values = out.values + 16 * group;
        store_int16(values, max(min(rounded, splat(16256.0f)), splat(-16256.0f)));
        Int16x16 v;
        std::memcpy(&v, values, sizeof(v));
        const Int16x16 high = (v + 64) >> 7, low = v - (high << 7);
        const Int8x16 high_bytes = __builtin_convertvector(high, Int8x16);
        const Int8x16 low_bytes = __builtin_convertvector(low, Int8x16);
        std::memcpy(out.high + 16 * group, &high_bytes, 16);
        std::memcpy(out.low + 16 * group, &low_bytes, 16);
        std::int32_t sum = 0;
        for (std::size_t i = 0; i < 4; ++i) {
            const std::int32_t four = values[4 * i] + values[4 * i + 1] + values[4 * i + 2] + values[4 * i + 3];
            out.eights[4 * group + i] = -8 * four;
            sum += four;
        }
        int high_sum = 0;
        for (std::size_t i = 0; i < 16; ++i) high_sum += out.high[16 * group + i];
        out.high_sums[group] = static_cast<std::int16_t>(high_sum);
        out.low_sums[group] = static_cast<std::int16_t>(sum - 128 * high_sum);
        out.sixteens[group] = static_cast<float>(sum);
        if (group % 2 != 0) out.thirty_twos[group / 2] = out.sixteens[group - 1] + out.sixteens[group];
    }
}

inline float fold(float* lanes) {
    for (int w = kInt15Lanes / 2; w > 0; w /= 2)
        for (int i = 0; i < w; ++i) lanes[i] += lanes[i + w];
    return lanes[0];
}

// Where a block keeps its float16 scale.
template <class Format>
constexpr std::size_t kScaleAt = 0;
template <>
constexpr std::size_t kScaleAt<Q6_K> = 208;

// The activations of some tokens from a column on; the members are those of Int15Activations.
struct Int15Columns {
    const std::int8_t *high, *low;
    const std::int16_t *high_sums, *low_sums;
    const std::int32_t* eights;
    std::size_t stride;

    Int15Columns from(std::size_t k) const {
        return {high + k, low + k, high_sums + k / 16, low_sums + k / 16, eights + k / 4, stride};
    }
    Int15Columns token(std::size_t t) const { return from(t * stride); }
};

struct Int15Reference {
    struct Sums {
        float lanes[kInt15Lanes];
    };
    static Sums zero() { return {}; }
    static float total(Sums& even, const Sums& odd) {
        for (int i = 0; i < kInt15Lanes; ++i) even.lanes[i] += odd.lanes[i];
        return fold(even.lanes);
    }

    template <std::size_t T, class Format>
    static void add(Sums* sums, Format format, const std::uint8_t* block, float d, const Int15Columns& x) {
        for (std::size_t t = 0; t < T; ++t) add_one(sums[t], format, block, d, x.token(t));
    }

    static void scale(Sums& sums, const std::int32_t* high, const std::int32_t* low, float d) {
        for (int i = 0; i < kInt15Lanes; ++i)
            sums.lanes[i] += d * (static_cast<float>(high[i]) * 128.0f + static_cast<float>(low[i]));
    }

    static void add_one(Sums& sums, Q4_0, const std::uint8_t* block, float d, const Int15Columns& x) {
        std::int32_t high_sums[kInt15Lanes] = {}, low_sums[kInt15Lanes] = {};
        for (int k = 0; k < 32; ++k) {
            const int code = (block[2 + k % 16] >> (k / 16 * 4) & 15) - 8;
            high_sums[k / 4] += code * x.high[k];
            low_sums[k / 4] += code * x.low[k];
        }
        scale(sums, high_sums, low_sums, d);
    }

    static void add_one(Sums& sums, Q8_0, const std::uint8_t* block, float d, const Int15Columns& x) {
        const auto* codes = reinterpret_cast<const std::int8_t*>(block + 2);
        std::int32_t high_sums[kInt15Lanes] = {}, low_sums[kInt15Lanes] = {};
        for (int k = 0; k < 32; ++k) {
            high_sums[k / 4] += codes[k] * x.high[k];
            low_sums[k / 4] += codes[k] * x.low[k];
        }
        scale(sums, high_sums, low_sums, d);
    }

    // The sub-scales multiply integers. A code stands for code - 32; the 32 is subtracted by means of the sums of
    // groups, two groups per lane.
    static void add_one(Sums& sums, Q6_K, const std::uint8_t* block, float d, const Int15Columns& x) {
        std::int32_t high_sums[kInt15Lanes] = {}, low_sums[kInt15Lanes] = {};
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

// Multiplies all rows with T tokens. Scales are converted several at a time, by way of an integer register: converted
// one by one, they would take a quarter of the vector instructions of a Q4_0 block.
template <class Blocks, class Format, std::size_t T>
void int15_rows(const Int15Task& task, std::size_t first_token) {
    const Int15Activations& x = task.x;
    const Int15Columns all{x.high, x.low, x.high_sums, x.low_sums, x.eights, x.stride};
    const float* token_scales = x.scales + first_token;
    float* out = task.out.data + first_token * task.out.stride;
    const std::size_t out_stride = task.out.stride, blocks = task.cols / Format::kValues;
    for (std::size_t r = 0; r < task.rows.count; ++r) {
        const std::uint8_t* block = task.rows.data + r * task.rows.stride;
        Int15Columns columns = all.token(first_token);
        typename Blocks::Sums even[T], odd[T];
        for (std::size_t t = 0; t < T; ++t) even[t] = odd[t] = Blocks::zero();
        const auto take = [&]<std::size_t... I>(std::index_sequence<I...>) {
            constexpr std::size_t kCount = sizeof...(I), kBytes = Format::kBytes;
            std::uint64_t halfs = 0;
            for (std::size_t i = 0; i < kCount; ++i) {
                std::uint16_t half;
                std::memcpy(&half, block + i * kBytes + kScaleAt<Format>, 2);
                halfs |= static_cast<std::uint64_t>(half) << (16 * i);
            }
            float scales[4];
            store_halfs(scales, halfs);
            // Prefetches are spread over the blocks: a burst would fill the processor's queue of cache misses.
            const auto prefetch = [&](std::size_t i) {
                for (std::size_t line = (i * kBytes + 63) / 64 * 64; line < (i + 1) * kBytes; line += 64)
                    __builtin_prefetch(block + 4096 + line);
            };
            ((prefetch(I), Blocks::template add<T>(I % 2 ? odd : even, Format{}, block + I * kBytes, scales[I],
                                                   columns.from(I * Format::kValues))),
             ...);
            block += kCount * kBytes;
            columns = columns.from(kCount * Format::kValues);
        };
        constexpr std::size_t kStep = Format::kValues == 32 ? 4 : 2;  // blocks whose scales are converted together
        std::size_t left = blocks;
        for (; left >= kStep; left -= kStep) take(std::make_index_sequence<kStep>());
        if (left >= 2) take(std::make_index_sequence<2>());
        if (left % 2 != 0) take(std::make_index_sequence<1>());
        for (std::size_t t = 0; t < T; ++t) out[t * out_stride + r] = Blocks::total(even[t], odd[t]) / token_scales[t];
    }
}

template <class Blocks, class Format>
void int15_tokens(const Int15Task& task) {
    constexpr decltype(&int15_rows<Blocks, Format, 1>) kByTokens[] = {
        int15_rows<Blocks, Format, 1>, int15_rows<Blocks, Format, 2>, int15_rows<Blocks, Format, 3>,
        int15_rows<Blocks, Format, 4>};
    for (std::size_t t = 0, n; t < task.n_tokens; t += n) {
        n = task.n_tokens - t < 4 ? task.n_tokens - t : 4;
        kByTokens[n - 1](task, t);
    }
}

template <class Blocks>
void int15_dot(const Int15Task& task) {
    if (task.encoding == Encoding::q4_0) return int15_tokens<Blocks, Q4_0>(task);
    if (task.encoding == Encoding::q8_0) return int15_tokens<Blocks, Q8_0>(task);
    return int15_tokens<Blocks, Q6_K>(task);
}

}  // namespace
}  // namespace sterna

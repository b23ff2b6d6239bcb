// Exact sums over a group of codes, as bytes, times int15 activations, as their int8 halves: 128 * (sum with the high
// halves) + (sum with the low ones), four columns of each row an instruction. In assembly where gcc 12 copies and
// spills sums that go through the intrinsics, and broadcasts apart from where it uses them. Compiled once per ISA;
// internal linkage.
#pragma once

#include "panel_codes.hpp"

namespace sterna {
namespace {

typedef std::int8_t Four[4];  // as an operand in memory

// The activations of a token from the first column of a group on; sums: of groups.
struct TokenColumns {
    const std::int8_t *high, *low;
    const std::int16_t* values;
    const float* sums;

    TokenColumns from(std::size_t column, std::size_t group) const {
        return {high + column, low + column, values + column, sums + group};
    }
};

#if defined(__AVX512VNNI__) || defined(__AVXVNNI__)

inline void add_four(RowInts& sum, const CodeVec& codes, const std::int8_t* x) {
#if defined(__AVX512VNNI__)
    asm("vpdpbusd %2%{1to16%}, %1, %0" : "+v"(sum) : "v"(codes), "m"(*reinterpret_cast<const Four*>(x)));
#else
    RowInts all;
    asm("vpbroadcastd %3, %1\n%{vex%} vpdpbusd %1, %2, %0"
        : "+x"(sum), "=&x"(all)
        : "x"(codes), "m"(*reinterpret_cast<const Four*>(x)));
#endif
}

template <class Format>
[[gnu::always_inline]] inline RowInts group_sum(const CodeVec* codes, const TokenColumns& x) {
    RowInts high{}, low{};
#pragma GCC unroll 8
    for (std::size_t i = 0; i < Format::kGroup / 4; ++i) {
        add_four(high, codes[i], x.high + 4 * i);
        add_four(low, codes[i], x.low + 4 * i);
    }
    return (high << 7) + low;
}

#elif defined(__AVX2__)

// Adds two products each to the 16-bit sums of a lane.
inline void add_four(__m256i& pairs, const CodeVec& codes, const std::int8_t* x) {
    __m256i all;
    asm("vpbroadcastd %3, %1\nvpmaddubsw %1, %2, %1\nvpaddw %1, %0, %0"
        : "+x"(pairs), "=&x"(all)
        : "x"(codes), "m"(*reinterpret_cast<const Four*>(x)));
}

inline void add_two(__m256i& sum, const PairVec& pair, const std::int16_t* x) {
    __m256i all;
    asm("vpbroadcastd %3, %1\nvpmaddwd %1, %2, %1\nvpaddd %1, %0, %0"
        : "+x"(sum), "=&x"(all)
        : "x"(pair), "m"(*reinterpret_cast<const std::int16_t(*)[2]>(x)));
}

// A maddubs lane adds two products of a code and a half, -127..127; as many as 16 bits hold are added before they are
// widened. int8 numbers, 128 more, times a half do not fit, and are multiplied with 16-bit activations.
template <class Format>
[[gnu::always_inline]] inline RowInts group_sum(const CodeVec* codes, const TokenColumns& x) {
    constexpr int kFours = Format::kGroup / 4;
    __m256i sum = _mm256_setzero_si256();
    if constexpr (kInt8Numbers<Format>) {
#pragma GCC unroll 8
        for (int i = 0; i < kFours; ++i) {
            add_two(sum, pair_of<0>(codes[i]), x.values + 4 * i);
            add_two(sum, pair_of<1>(codes[i]), x.values + 4 * i + 2);
        }
        return reinterpret_cast<RowInts>(sum);
    }
    constexpr int kMost = (1 << (Format::kBits + Format::kMoreBits)) - 1;
    constexpr int kSafe = 32767 / (2 * 127 * kMost), kRun = kSafe < kFours ? kSafe : kFours;
    static_assert(kInt8Numbers<Format> || kFours % kRun == 0);
    const auto add_half = [&](const std::int8_t* half, short factor) {
#pragma GCC unroll 8
        for (int run = 0; run < kFours; run += kRun) {
            __m256i pairs = _mm256_setzero_si256();
#pragma GCC unroll 8
            for (int i = run; i < run + kRun; ++i) add_four(pairs, codes[i], half + 4 * i);
            sum = _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(factor)));
        }
    };
    add_half(x.high, 128);
    add_half(x.low, 1);
    return reinterpret_cast<RowInts>(sum);
}

#elif defined(__ARM_NEON)

template <class Format>
[[gnu::always_inline]] inline RowInts group_sum(const CodeVec* codes, const TokenColumns& x) {
    int32x4_t high = vdupq_n_s32(0), low = high;
#pragma GCC unroll 2
    for (std::size_t i = 0; i < Format::kGroup / 4; i += 4) {
        const int8x16_t h = vld1q_s8(x.high + 4 * i), l = vld1q_s8(x.low + 4 * i);
        const auto code = [&](std::size_t four) { return reinterpret_cast<int8x16_t>(codes[i + four]); };
        high = vdotq_laneq_s32(high, code(0), h, 0);
        low = vdotq_laneq_s32(low, code(0), l, 0);
        high = vdotq_laneq_s32(high, code(1), h, 1);
        low = vdotq_laneq_s32(low, code(1), l, 1);
        high = vdotq_laneq_s32(high, code(2), h, 2);
        low = vdotq_laneq_s32(low, code(2), l, 2);
        high = vdotq_laneq_s32(high, code(3), h, 3);
        low = vdotq_laneq_s32(low, code(3), l, 3);
    }
    return reinterpret_cast<RowInts>(vaddq_s32(vshlq_n_s32(high, 7), low));
}

#endif

// The sum of numbers times activations from that of the codes; `x` is the sum of the activations. Sums of codes below
// 64 are whole numbers up to 2^24, so float32 holds them exactly; those of int8 numbers are rounded once.
template <class Format>
inline RowVec sum_of_numbers(const RowInts& sum, float x) {
    if constexpr (kInt8Numbers<Format>) return to_float(kPlus128 ? sum - (ints_of_all(x) << 7) : sum);
    if constexpr (!kInt8Numbers<Format> && Format::kBias != 0) return minus_product(to_float(sum), Format::kBias, x);
    return to_float(sum);
}

}  // namespace
}  // namespace sterna

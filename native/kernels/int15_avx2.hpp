// Block sums of Q4_0, Q8_0 and Q6_K (int15_dot.hpp) with AVX2.
#pragma once

#include <immintrin.h>

#include "int15_dot.hpp"

namespace sterna {
namespace {

inline __m256i load256(const void* p) {
    return _mm256_loadu_si256(static_cast<const __m256i*>(p));
}

struct Int15Avx2 {
    using Sums = __m256;
    static Sums zero() { return _mm256_setzero_ps(); }
    static float total(const Sums& even, const Sums& odd) {
        const __m256 lanes = _mm256_add_ps(even, odd);  // folded in the order of `fold`
        __m128 sum = _mm_add_ps(_mm256_castps256_ps128(lanes), _mm256_extractf128_ps(lanes, 1));
        sum = _mm_add_ps(sum, _mm_movehl_ps(sum, sum));
        return _mm_cvtss_f32(_mm_add_ss(sum, _mm_movehdup_ps(sum)));
    }

    static void scale(Sums& sums, __m256 value, float d) {
        sums = _mm256_add_ps(sums, _mm256_mul_ps(_mm256_set1_ps(d), value));
    }

    // 128 * high + low, summed over the four products of a lane, from 16-bit sums of two products. With |code| <= 128
    // and |activation| <= 16256 the sum is at most 2^23, so it is exact in float32 in whatever order it is computed.
    static __m256i join(__m256i high, __m256i low) {
        return _mm256_add_epi32(_mm256_madd_epi16(high, _mm256_set1_epi16(128)),
                                _mm256_madd_epi16(low, _mm256_set1_epi16(1)));
    }

    // The 32 codes of 16 bytes: low nibbles in the low half, high nibbles in the high half.
    static __m256i nibbles(const std::uint8_t* p) {
        const __m256i packed = _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
        return _mm256_and_si256(_mm256_srlv_epi64(packed, _mm256_set_epi64x(4, 4, 0, 0)), _mm256_set1_epi8(15));
    }

    // code <= 15, |activation| <= 127: a maddubs lane stays within 2 * 15 * 127 = 3810.
    template <std::size_t T>
    static void add(Sums* sums, Q4_0, const std::uint8_t* block, float d, const Int15Columns& x) {
        const __m256i codes = nibbles(block + 2);
        for (std::size_t t = 0; t < T; ++t) {
            const Int15Columns of = x.token(t);
            const __m256i dots =
                join(_mm256_maddubs_epi16(codes, load256(of.high)), _mm256_maddubs_epi16(codes, load256(of.low)));
            scale(sums[t], _mm256_cvtepi32_ps(_mm256_add_epi32(dots, load256(of.eights))), d);
        }
    }

    // |code| <= 128, |activation| <= 127: a maddubs lane stays within 2 * 128 * 127 = 32512 < 32767.
    template <std::size_t T>
    static void add(Sums* sums, Q8_0, const std::uint8_t* block, float d, const Int15Columns& x) {
        const __m256i w = load256(block + 2), magnitude = _mm256_abs_epi8(w);
        for (std::size_t t = 0; t < T; ++t) {
            const Int15Columns of = x.token(t);
            const auto pairs_with = [&](const std::int8_t* values) {
                return _mm256_maddubs_epi16(magnitude, _mm256_sign_epi8(load256(values), w));
            };
            scale(sums[t], _mm256_cvtepi32_ps(join(pairs_with(of.high), pairs_with(of.low))), d);
        }
    }

    // code <= 63, |activation| <= 127: a maddubs lane stays within 2 * 63 * 127 = 16002.
    template <std::size_t T>
    static void add(Sums* sums, Q6_K, const std::uint8_t* block, float d, const Int15Columns& x) {
        const __m256i nibble = _mm256_set1_epi8(15), pair = _mm256_set1_epi8(0x30);
        const __m128i scales = _mm_loadu_si128(reinterpret_cast<const __m128i*>(block + 192));  // of 16 groups
        // The scales of 32 codes (two groups) are one word of the low half and the same word of the high half.
        const __m256i by_pairs = _mm256_cvtepi8_epi16(
            _mm_shuffle_epi8(scales, _mm_setr_epi8(0, 2, 4, 6, 8, 10, 12, 14, 1, 3, 5, 7, 9, 11, 13, 15)));
        // -32 * scale * (sum of the group), two groups a lane.
        const __m256i offsets =
            _mm256_slli_epi16(_mm256_sub_epi16(_mm256_setzero_si256(), _mm256_cvtepi8_epi16(scales)), 5);
        __m256i high_sums[T], low_sums[T];
        for (std::size_t t = 0; t < T; ++t) {
            high_sums[t] = _mm256_madd_epi16(offsets, load256(x.token(t).high_sums));
            low_sums[t] = _mm256_madd_epi16(offsets, load256(x.token(t).low_sums));
        }
        const auto multiply = [&](std::size_t i, __m256i codes) {
            const __m256i scale = _mm256_shuffle_epi8(by_pairs, _mm256_set1_epi16(static_cast<short>(514 * i + 256)));
            const auto scaled = [&](const std::int8_t* values) {
                return _mm256_madd_epi16(_mm256_maddubs_epi16(codes, load256(values + 32 * i)), scale);
            };
            for (std::size_t t = 0; t < T; ++t) {
                high_sums[t] = _mm256_add_epi32(high_sums[t], scaled(x.token(t).high));
                low_sums[t] = _mm256_add_epi32(low_sums[t], scaled(x.token(t).low));
            }
        };
#pragma GCC unroll 2
        for (std::size_t half = 0; half < 2; ++half) {
            const __m256i a = load256(block + 64 * half), b = load256(block + 64 * half + 32);
            const __m256i h = load256(block + 128 + 32 * half);
            const auto code = [&](__m256i low, __m256i high) {
                return _mm256_or_si256(_mm256_and_si256(low, nibble), _mm256_and_si256(high, pair));
            };
            multiply(4 * half, code(a, _mm256_slli_epi16(h, 4)));
            multiply(4 * half + 1, code(b, _mm256_slli_epi16(h, 2)));
            multiply(4 * half + 2, code(_mm256_srli_epi16(a, 4), h));
            multiply(4 * half + 3, code(_mm256_srli_epi16(b, 4), _mm256_srli_epi16(h, 2)));
        }
        for (std::size_t t = 0; t < T; ++t) {
            const __m256 high = _mm256_mul_ps(_mm256_cvtepi32_ps(high_sums[t]), _mm256_set1_ps(128.0f));
            scale(sums[t], _mm256_add_ps(high, _mm256_cvtepi32_ps(low_sums[t])), d);
        }
    }
};

}  // namespace
}  // namespace sterna

// Block sums of Q8_0 and Q6_K (wide_dot.hpp) with AVX2.
#pragma once

#include <immintrin.h>

#include "wide_dot.hpp"

namespace sterna {
namespace {

inline __m256i load256(const void* p) {
    return _mm256_loadu_si256(static_cast<const __m256i*>(p));
}

struct WideAvx2 {
    using Sums = __m256;
    static Sums zero() { return _mm256_setzero_ps(); }
    static float total(const Sums& sums) {
        float lanes[kWideLanes];
        _mm256_storeu_ps(lanes, sums);
        return fold(lanes);
    }

    static void add(Sums& sums, __m256i high, __m256i low, float d) {
        const __m256 value =
            _mm256_add_ps(_mm256_mul_ps(_mm256_cvtepi32_ps(high), _mm256_set1_ps(128.0f)), _mm256_cvtepi32_ps(low));
        sums = _mm256_add_ps(sums, _mm256_mul_ps(_mm256_set1_ps(d), value));
    }

    // |code| <= 128, |activation| <= 127: a maddubs lane stays within 2 * 128 * 127 = 32512 < 32767.
    static void add_q8_0(Sums& sums, const std::uint8_t* block, const std::int8_t* high, const std::int8_t* low) {
        const __m256i w = load256(block + 2), magnitude = _mm256_abs_epi8(w), ones = _mm256_set1_epi16(1);
        const auto sum_with = [&](const std::int8_t* x) {
            return _mm256_madd_epi16(_mm256_maddubs_epi16(magnitude, _mm256_sign_epi8(load256(x), w)), ones);
        };
        add(sums, sum_with(high), sum_with(low), half_at(block));
    }

    // code <= 63, |activation| <= 127: a maddubs lane stays within 2 * 63 * 127 = 16002.
    static void add_q6_k(Sums& sums, const std::uint8_t* block, const std::int8_t* high, const std::int8_t* low,
                         const std::int16_t* high_groups, const std::int16_t* low_groups) {
        const __m256i nibble = _mm256_set1_epi8(15), pair = _mm256_set1_epi8(0x30);
        const __m128i scales8 = _mm_loadu_si128(reinterpret_cast<const __m128i*>(block + 192));  // 16 groups
        // -32 * scale * (sum of the group), two groups a lane.
        const __m256i offsets =
            _mm256_slli_epi16(_mm256_sub_epi16(_mm256_setzero_si256(), _mm256_cvtepi8_epi16(scales8)), 5);
        __m256i high_sums = _mm256_madd_epi16(offsets, load256(high_groups));
        __m256i low_sums = _mm256_madd_epi16(offsets, load256(low_groups));
        for (int half = 0; half < 2; ++half) {
            const __m256i a = load256(block + 64 * half), b = load256(block + 64 * half + 32);
            const __m256i h = load256(block + 128 + 32 * half);
            const __m256i codes[4] = {
                _mm256_or_si256(_mm256_and_si256(a, nibble), _mm256_and_si256(_mm256_slli_epi16(h, 4), pair)),
                _mm256_or_si256(_mm256_and_si256(b, nibble), _mm256_and_si256(_mm256_slli_epi16(h, 2), pair)),
                _mm256_or_si256(_mm256_and_si256(_mm256_srli_epi16(a, 4), nibble), _mm256_and_si256(h, pair)),
                _mm256_or_si256(_mm256_and_si256(_mm256_srli_epi16(b, 4), nibble),
                                _mm256_and_si256(_mm256_srli_epi16(h, 2), pair)),
            };
            for (int q = 0; q < 4; ++q) {
                // Eight copies of the two groups' scales, as 16-bit numbers: the first group in the low half.
                const long long first = 8 * half + 2 * q;
                const __m128i pick = _mm_set_epi64x(0x0101010101010101 * (first + 1), 0x0101010101010101 * first);
                const __m256i scale = _mm256_cvtepi8_epi16(_mm_shuffle_epi8(scales8, pick));
                const int k = 128 * half + 32 * q;
                const auto scaled = [&](const std::int8_t* x) {
                    return _mm256_madd_epi16(_mm256_maddubs_epi16(codes[q], load256(x + k)), scale);
                };
                high_sums = _mm256_add_epi32(high_sums, scaled(high));
                low_sums = _mm256_add_epi32(low_sums, scaled(low));
            }
        }
        add(sums, high_sums, low_sums, half_at(block + 208));
    }
};

}  // namespace
}  // namespace sterna

// Block sums of Q4_0, Q8_0 and Q6_K (wide_dot.hpp) with AVX2.
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
    static float total(const Sums& even, const Sums& odd) {
        float lanes[kWideLanes];
        _mm256_storeu_ps(lanes, _mm256_add_ps(even, odd));
        return fold(lanes);
    }

    static void scale(Sums& sums, __m256 value, float d) {
        sums = _mm256_add_ps(sums, _mm256_mul_ps(_mm256_set1_ps(d), value));
    }

    // 128 * high + low of four products a lane, from 16-bit sums of two. With |code| <= 128 and |activation| <= 16256
    // that is at most 2^23: exact in float32 whichever way it is put together.
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
    static void add(Sums& sums, Q4_0, const std::uint8_t* block, float d, const WideColumns& x) {
        const __m256i codes = nibbles(block + 2);
        const __m256i dots =
            join(_mm256_maddubs_epi16(codes, load256(x.high)), _mm256_maddubs_epi16(codes, load256(x.low)));
        scale(sums, _mm256_cvtepi32_ps(_mm256_add_epi32(dots, load256(x.eights))), d);
    }

    // |code| <= 128, |activation| <= 127: a maddubs lane stays within 2 * 128 * 127 = 32512 < 32767.
    static void add(Sums& sums, Q8_0, const std::uint8_t* block, float d, const WideColumns& x) {
        const __m256i w = load256(block + 2), magnitude = _mm256_abs_epi8(w);
        const auto pairs_with = [&](const std::int8_t* values) {
            return _mm256_maddubs_epi16(magnitude, _mm256_sign_epi8(load256(values), w));
        };
        scale(sums, _mm256_cvtepi32_ps(join(pairs_with(x.high), pairs_with(x.low))), d);
    }

    // code <= 63, |activation| <= 127: a maddubs lane stays within 2 * 63 * 127 = 16002.
    static void add(Sums& sums, Q6_K, const std::uint8_t* block, float d, const WideColumns& x) {
        const __m256i nibble = _mm256_set1_epi8(15), pair = _mm256_set1_epi8(0x30);
        const __m128i scales8 = _mm_loadu_si128(reinterpret_cast<const __m128i*>(block + 192));  // 16 groups
        // -32 * scale * (sum of the group), two groups a lane.
        const __m256i offsets =
            _mm256_slli_epi16(_mm256_sub_epi16(_mm256_setzero_si256(), _mm256_cvtepi8_epi16(scales8)), 5);
        __m256i high_sums = _mm256_madd_epi16(offsets, load256(x.high_sums));
        __m256i low_sums = _mm256_madd_epi16(offsets, load256(x.low_sums));
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
                const __m256i sub_scale = _mm256_cvtepi8_epi16(_mm_shuffle_epi8(scales8, pick));
                const int k = 128 * half + 32 * q;
                const auto scaled = [&](const std::int8_t* values) {
                    return _mm256_madd_epi16(_mm256_maddubs_epi16(codes[q], load256(values + k)), sub_scale);
                };
                high_sums = _mm256_add_epi32(high_sums, scaled(x.high));
                low_sums = _mm256_add_epi32(low_sums, scaled(x.low));
            }
        }
        const __m256 high = _mm256_mul_ps(_mm256_cvtepi32_ps(high_sums), _mm256_set1_ps(128.0f));
        scale(sums, _mm256_add_ps(high, _mm256_cvtepi32_ps(low_sums)), d);
    }
};

}  // namespace
}  // namespace sterna

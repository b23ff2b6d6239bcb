// Block sums of Q4_0 and Q8_0 (int15_dot.hpp) with vpdpbusd. Q6_K has the code of AVX2, since its sub-scales multiply
// sums of two products, and vpdpbusd sums four.
#pragma once

#include "int15_avx2.hpp"

namespace sterna {
namespace {

struct Int15Vnni : Int15Avx2 {
    using Int15Avx2::add;

    // Codes 0..255 times (128 * high + low), added to `offsets`; exact.
    static __m256i dots(__m256i codes, const Int15Columns& x, __m256i offsets) {
        const __m256i high = _mm256_dpbusd_epi32(_mm256_setzero_si256(), codes, load256(x.high));
        return _mm256_add_epi32(_mm256_slli_epi32(high, 7), _mm256_dpbusd_epi32(offsets, codes, load256(x.low)));
    }

    template <std::size_t T>
    static void add(Sums* sums, Q4_0, const std::uint8_t* block, float d, const Int15Columns& x) {
        const __m256i codes = nibbles(block + 2);
        for (std::size_t t = 0; t < T; ++t) {
            const Int15Columns of = x.token(t);
            scale(sums[t], _mm256_cvtepi32_ps(dots(codes, of, load256(of.eights))), d);
        }
    }

    // code + 128 is unsigned; 128 * (sum of activations) is subtracted again.
    template <std::size_t T>
    static void add(Sums* sums, Q8_0, const std::uint8_t* block, float d, const Int15Columns& x) {
        const __m256i codes = _mm256_xor_si256(load256(block + 2), _mm256_set1_epi8(-128));
        for (std::size_t t = 0; t < T; ++t) {
            const Int15Columns of = x.token(t);
            scale(sums[t], _mm256_cvtepi32_ps(dots(codes, of, _mm256_slli_epi32(load256(of.eights), 4))), d);
        }
    }
};

}  // namespace
}  // namespace sterna

// Ternary dot products with vpdpbusd on 256-bit registers: four codes times four activations, added to 32-bit sums. The
// instruction has two encodings: EVEX (AVX-512 VNNI with VL) and VEX (AVX-VNNI, for processors without AVX-512).
#pragma once

#include "ternary_x86.hpp"

#if defined(__AVX512VNNI__)
#define STERNA_DPBUSD "vpdpbusd"
#else
#define STERNA_DPBUSD "%{vex%} vpdpbusd"
#endif

namespace sterna {
namespace {

struct Dpbusd {
    // dots[t] = codes . x of one row and T tokens.
    template <int T>
    static void row(const std::uint8_t* row, const std::int8_t* x, std::size_t x_stride, std::size_t cols,
                    std::int32_t* dots) {
        const __m256i mask = _mm256_set1_epi8(3);
        __m256i low[T], high[T];  // two chains of additions hide the latency of one token
        for (int t = 0; t < T; ++t) low[t] = high[t] = _mm256_setzero_si256();
        for (std::size_t k = 0; k < cols; k += 128) {
            const __m256i w = load256(row + k / 4);
            _mm_prefetch(reinterpret_cast<const char*>(row + k / 4 + 4096), _MM_HINT_T0);
            const __m256i w0 = _mm256_and_si256(_mm256_srli_epi16(w, 6), mask);
            const __m256i w1 = _mm256_and_si256(_mm256_srli_epi16(w, 4), mask);
            const __m256i w2 = _mm256_and_si256(_mm256_srli_epi16(w, 2), mask);
            const __m256i w3 = _mm256_and_si256(w, mask);
#pragma GCC unroll 4
            for (int t = 0; t < T; ++t) {
                const std::int8_t* a = x + static_cast<std::size_t>(t) * x_stride + k;
                low[t] = _mm256_dpbusd_epi32(low[t], w0, load256(a));
                high[t] = _mm256_dpbusd_epi32(high[t], w1, load256(a + 32));
                low[t] = _mm256_dpbusd_epi32(low[t], w2, load256(a + 64));
                high[t] = _mm256_dpbusd_epi32(high[t], w3, load256(a + 96));
            }
        }
        for (int t = 0; t < T; ++t) dots[t] = sum32(_mm256_add_epi32(low[t], high[t]));
    }

    // sums (+)= codes . x over `steps` times 32 columns.
    template <bool Add>
    static void tile(const std::uint8_t* codes, const std::int8_t* x0, const std::int8_t* x1, std::size_t steps,
                     TileSums& sums) {
        __m256i a[6], b[6], xa, xb, w, product;
#define STERNA_ROW(offset, a, b)                                                                    \
    "vmovdqa " #offset "(%[codes]), %[w]\n" STERNA_DPBUSD " %[xa], %[w], %[" #a "]\n" STERNA_DPBUSD \
    " %[xb], %[w], %[" #b "]\n"
        STERNA_TILE(STERNA_ROW);
#undef STERNA_ROW
        for (int r = 0; r < 6; ++r) {
            sums.a[r] = Add ? _mm256_add_epi32(sums.a[r], a[r]) : a[r];
            sums.b[r] = Add ? _mm256_add_epi32(sums.b[r], b[r]) : b[r];
        }
    }
};

// In assembly: compilers shorten the loop.
std::uint64_t multiply_add(std::size_t rounds) {
    const __m256i codes = _mm256_set1_epi8(1), x = _mm256_set1_epi8(3);
    for (std::size_t round = 0; round < rounds; ++round) {
#define STERNA_MULTIPLY_ADD(sum) STERNA_DPBUSD " %1, %0, %%ymm" #sum "\n"
        asm volatile(STERNA_MULTIPLY_ADD(0) STERNA_MULTIPLY_ADD(1) STERNA_MULTIPLY_ADD(2) STERNA_MULTIPLY_ADD(3)
                         STERNA_MULTIPLY_ADD(4) STERNA_MULTIPLY_ADD(5) STERNA_MULTIPLY_ADD(6) STERNA_MULTIPLY_ADD(7)
                             STERNA_MULTIPLY_ADD(8) STERNA_MULTIPLY_ADD(9)
                     :
                     : "x"(codes), "x"(x)
                     : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9");
#undef STERNA_MULTIPLY_ADD
    }
    return rounds * 10 * 32;
}

}  // namespace
}  // namespace sterna

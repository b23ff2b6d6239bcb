// Ternary dot products with vpdpbusd: four codes times four activations, added to 32-bit sums. The instruction has two
// encodings: EVEX (AVX-512 VNNI) and VEX (AVX-VNNI, for processors without AVX-512).
#pragma once

#include "ternary_panel_x86.hpp"
#include "ternary_x86.hpp"

#if defined(__AVX512VNNI__)
#define STERNA_DPBUSD "vpdpbusd"
#else
#define STERNA_DPBUSD "%{vex%} vpdpbusd"
#endif

namespace sterna {
namespace {

// The multiply-add of a tile, on registers of `Bytes` bytes.
template <std::size_t Bytes, std::size_t Groups, std::size_t Tokens, std::size_t PanelTokens>
struct DpbusdOp {
    typedef std::int32_t Vec __attribute__((vector_size(Bytes)));
    static constexpr std::size_t kGroups = Groups, kTokens = Tokens, kBlocks = 4;
    static constexpr std::size_t kPanelTokens = PanelTokens, kLines = 0;
    static constexpr bool kInPlace = true;

    // In assembly, because gcc 12 moves and spills sums that go through the intrinsic.
    static void multiply_add(Vec& sum, const Vec& codes, const Vec& x) {
        asm(STERNA_DPBUSD " %2, %1, %0" : "+v"(sum) : "v"(codes), "v"(x));
    }
    static Vec widen(const Vec& sum) { return sum; }
};

template <class Op>
struct Dpbusd : TileX86<Op> {
    template <std::size_t T>
    static void row(const std::uint8_t* row, const std::int8_t* x, std::size_t x_stride, std::size_t cols,
                    __m256i* sums) {
        const __m256i mask = _mm256_set1_epi8(3);
        __m256i low[T], high[T];  // two chains of additions hide the latency of one token
        for (std::size_t t = 0; t < T; ++t) low[t] = high[t] = _mm256_setzero_si256();
        for (std::size_t k = 0; k < cols; k += 128) {
            const __m256i w = load256(row + k / 4);
            _mm_prefetch(reinterpret_cast<const char*>(row + k / 4 + 4096), _MM_HINT_T0);
            const __m256i w0 = _mm256_and_si256(_mm256_srli_epi16(w, 6), mask);
            const __m256i w1 = _mm256_and_si256(_mm256_srli_epi16(w, 4), mask);
            const __m256i w2 = _mm256_and_si256(_mm256_srli_epi16(w, 2), mask);
            const __m256i w3 = _mm256_and_si256(w, mask);
#pragma GCC unroll 4
            for (std::size_t t = 0; t < T; ++t) {
                const std::int8_t* a = x + t * x_stride + k;
                low[t] = _mm256_dpbusd_epi32(low[t], w0, load256(a));
                high[t] = _mm256_dpbusd_epi32(high[t], w1, load256(a + 32));
                low[t] = _mm256_dpbusd_epi32(low[t], w2, load256(a + 64));
                high[t] = _mm256_dpbusd_epi32(high[t], w3, load256(a + 96));
            }
        }
        for (std::size_t t = 0; t < T; ++t) sums[t] = _mm256_add_epi32(low[t], high[t]);
    }
};

}  // namespace
}  // namespace sterna

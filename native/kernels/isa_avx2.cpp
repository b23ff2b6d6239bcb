// AVX2: codes and activations meet in maddubs, sums stay in 16 bits as long as they can.
#include "isa_table.hpp"
#include "ternary_x86.hpp"

namespace sterna {
namespace {

struct Maddubs {
    // A maddubs lane adds two products of a code (0..2) and an int8, at most 512 in magnitude; a block of 128 columns
    // adds four of them to a lane, 2048; fifteen blocks make 30720 < 32767.
    // dots[t] = codes . x of one row and T tokens.
    template <int T>
    static void row(const std::uint8_t* row, const std::int8_t* x, std::size_t x_stride, std::size_t cols,
                    std::int32_t* dots) {
        constexpr std::size_t kBlocksPer16Bit = 15;
        const __m256i mask = _mm256_set1_epi8(3), ones = _mm256_set1_epi16(1);
        __m256i acc32[T];
        for (__m256i& acc : acc32) acc = _mm256_setzero_si256();
        const std::size_t blocks = cols / 128;
        for (std::size_t first = 0; first < blocks; first += kBlocksPer16Bit) {
            const std::size_t last = smaller(first + kBlocksPer16Bit, blocks);
            __m256i acc16[T];
            for (__m256i& acc : acc16) acc = _mm256_setzero_si256();
            for (std::size_t block = first; block < last; ++block) {
                const __m256i w = load256(row + 32 * block);
                _mm_prefetch(reinterpret_cast<const char*>(row + 32 * block + 4096), _MM_HINT_T0);
                const __m256i w0 = _mm256_and_si256(_mm256_srli_epi16(w, 6), mask);
                const __m256i w1 = _mm256_and_si256(_mm256_srli_epi16(w, 4), mask);
                const __m256i w2 = _mm256_and_si256(_mm256_srli_epi16(w, 2), mask);
                const __m256i w3 = _mm256_and_si256(w, mask);
#pragma GCC unroll 4
                for (int t = 0; t < T; ++t) {
                    const std::int8_t* a = x + static_cast<std::size_t>(t) * x_stride + 128 * block;
                    const __m256i low = _mm256_add_epi16(_mm256_maddubs_epi16(w0, load256(a)),
                                                         _mm256_maddubs_epi16(w1, load256(a + 32)));
                    const __m256i high = _mm256_add_epi16(_mm256_maddubs_epi16(w2, load256(a + 64)),
                                                          _mm256_maddubs_epi16(w3, load256(a + 96)));
                    acc16[t] = _mm256_add_epi16(acc16[t], _mm256_add_epi16(low, high));
                }
            }
            for (int t = 0; t < T; ++t) acc32[t] = _mm256_add_epi32(acc32[t], _mm256_madd_epi16(acc16[t], ones));
        }
        for (int t = 0; t < T; ++t) dots[t] = sum32(acc32[t]);
    }

    // sums (+)= codes . x over `steps` (1 to 64) times 32 columns.
    //
    // A maddubs lane adds two products of a code 0..2 and an int8 -128..127: from -512 to 508. Over 64 steps that makes
    // -32768 to 32512, which is just what 16 bits hold. (The code 3 does not occur: loading replaces it.)
    template <bool Add>
    static void tile(const std::uint8_t* codes, const std::int8_t* x0, const std::int8_t* x1, std::size_t steps,
                     TileSums& sums) {
        __m256i a[6], b[6], xa, xb, w, product;
#define STERNA_ROW(offset, a, b)           \
    "vmovdqa " #offset                     \
    "(%[codes]), %[w]\n"                   \
    "vpmaddubsw %[xa], %[w], %[product]\n" \
    "vpmaddubsw %[xb], %[w], %[w]\n"       \
    "vpaddw %[product], %[" #a "], %[" #a  \
    "]\n"                                  \
    "vpaddw %[w], %[" #b "], %[" #b "]\n"
        STERNA_TILE(STERNA_ROW);
#undef STERNA_ROW
        const __m256i ones = _mm256_set1_epi16(1);
        for (int r = 0; r < 6; ++r) {
            const __m256i first = _mm256_madd_epi16(a[r], ones), second = _mm256_madd_epi16(b[r], ones);
            sums.a[r] = Add ? _mm256_add_epi32(sums.a[r], first) : first;
            sums.b[r] = Add ? _mm256_add_epi32(sums.b[r], second) : second;
        }
    }
};

// In assembly: compilers spill these sums or shorten the loop.
std::uint64_t multiply_add(std::size_t rounds) {
    const __m256i codes = _mm256_set1_epi8(1), x = _mm256_set1_epi8(3);
    for (std::size_t round = 0; round < rounds; ++round) {
#define STERNA_MULTIPLY_ADD(product, sum) \
    "vpmaddubsw %1, %0, %%ymm" #product   \
    "\n"                                  \
    "vpaddw %%ymm" #product ", %%ymm" #sum ", %%ymm" #sum "\n"
        asm volatile(STERNA_MULTIPLY_ADD(8, 0) STERNA_MULTIPLY_ADD(9, 1) STERNA_MULTIPLY_ADD(10, 2)
                         STERNA_MULTIPLY_ADD(11, 3) STERNA_MULTIPLY_ADD(12, 4) STERNA_MULTIPLY_ADD(13, 5)
                     :
                     : "x"(codes), "x"(x)
                     : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12",
                       "xmm13");
#undef STERNA_MULTIPLY_ADD
    }
    return rounds * 6 * 32;
}

}  // namespace

extern const Kernels kAvx2Kernels = make_table("avx2", ternary_dot<Maddubs>, wide_dot<WideAvx2>, multiply_add);

}  // namespace sterna

// AVX2: four maddubs per 32 bytes of I2_S codes.
#include <immintrin.h>

#include "isa_table.hpp"
#include "ternary_gemm_avx2.hpp"

namespace sterna {
namespace {

inline __m256i load256(const void* p) {
    return _mm256_loadu_si256(static_cast<const __m256i*>(p));
}

inline std::int32_t sum32(__m256i v) {
    __m128i s = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
    s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0x4e));
    s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0xb1));
    return _mm_cvtsi128_si32(s);
}

// One row and T tokens; the codes are unpacked in registers. Rows are read one after the other: a single stream of
// memory is what the prefetchers serve best, two interleaved ones get half the bandwidth (docs/kernels.md).
//
// A maddubs lane adds two products of a code (0..2) and an int8, at most 512 in magnitude; a block of 128 columns adds
// four of them to a lane, 2048; fifteen blocks make 30720 < 32767.
template <int T>
void row_dot(const std::uint8_t* row, const std::int8_t* x, std::size_t x_stride, const std::int32_t* x_sum,
             std::size_t cols, std::int32_t* dots, std::size_t dots_stride) {
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
                const __m256i low =
                    _mm256_add_epi16(_mm256_maddubs_epi16(w0, load256(a)), _mm256_maddubs_epi16(w1, load256(a + 32)));
                const __m256i high = _mm256_add_epi16(_mm256_maddubs_epi16(w2, load256(a + 64)),
                                                      _mm256_maddubs_epi16(w3, load256(a + 96)));
                acc16[t] = _mm256_add_epi16(acc16[t], _mm256_add_epi16(low, high));
            }
        }
        for (int t = 0; t < T; ++t) acc32[t] = _mm256_add_epi32(acc32[t], _mm256_madd_epi16(acc16[t], ones));
    }
    for (int t = 0; t < T; ++t) dots[static_cast<std::size_t>(t) * dots_stride] = sum32(acc32[t]) - x_sum[t];
}

template <int T>
void rows_dot(const std::uint8_t* rows, std::size_t row_bytes, std::size_t n_rows, const std::int8_t* x,
              std::size_t x_stride, const std::int32_t* x_sum, std::size_t cols, std::int32_t* dots,
              std::size_t dots_stride) {
    for (std::size_t r = 0; r < n_rows; ++r)
        row_dot<T>(rows + r * row_bytes, x, x_stride, x_sum, cols, dots + r, dots_stride);
}

void ternary_dot(const std::uint8_t* rows, std::size_t row_bytes, std::size_t n_rows, const std::int8_t* x,
                 std::size_t x_stride, const std::int32_t* x_sum, std::size_t n_tokens, std::size_t cols,
                 std::int32_t* dots, std::size_t dots_stride) {
    constexpr std::size_t kEnoughTokens = 20;  // to pay for unpacking
    if (n_tokens >= kEnoughTokens)
        return ternary_gemm(rows, row_bytes, n_rows, x, x_stride, x_sum, n_tokens, cols, dots, dots_stride);
    constexpr decltype(&rows_dot<1>) kByTokens[] = {rows_dot<1>, rows_dot<2>, rows_dot<3>, rows_dot<4>};
    constexpr std::size_t kMost = 4;
    for (std::size_t t = 0; t < n_tokens; t += kMost)
        kByTokens[smaller(kMost, n_tokens - t) - 1](rows, row_bytes, n_rows, x + t * x_stride, x_stride, x_sum + t,
                                                    cols, dots + t * dots_stride, dots_stride);
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

extern const Kernels kAvx2Kernels = make_table("avx2", ternary_dot, wide_dot<WideAvx2>, multiply_add);

}  // namespace sterna

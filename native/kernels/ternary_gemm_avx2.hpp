// Many tokens at once, AVX2: the codes of six rows are unpacked into the first cache, then meet two tokens at a time.
//
// The tile holds 6 rows x 2 tokens in twelve registers of 16-bit sums; two hold activations, two are for products. Per
// 32 columns that is 12 maddubs and 12 additions for 8 loads, so the multipliers never wait. Written in assembly,
// because compilers spill some of the twelve.
#pragma once

#include <immintrin.h>

#include "kernels.hpp"

namespace sterna {
namespace {

constexpr std::size_t kGemmRows = 6;

// A maddubs lane adds two products of a code 0..2 and an int8 -128..127: from -512 to 508. Over 64 steps that makes
// -32768 to 32512, which is just what 16 bits hold. (The code 3 does not occur: loading replaces it.)
constexpr std::size_t kGemmSteps = 64;

inline std::size_t smaller(std::size_t a, std::size_t b) {
    return a < b ? a : b;
}

// codes[step][row][32] for `blocks` blocks of 128 columns; rows past n_rows repeat the last one.
inline void unpack_rows(const std::uint8_t* rows, std::size_t row_bytes, std::size_t n_rows, std::size_t blocks,
                        std::uint8_t* codes) {
    const __m256i mask = _mm256_set1_epi8(3);
    for (std::size_t r = 0; r < kGemmRows; ++r) {
        const std::uint8_t* row = rows + smaller(r, n_rows - 1) * row_bytes;
        for (std::size_t block = 0; block < blocks; ++block) {
            const __m256i w = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(row + 32 * block));
            auto* out = reinterpret_cast<__m256i*>(codes + 4 * block * kGemmRows * 32) + r;
            _mm256_store_si256(out, _mm256_and_si256(_mm256_srli_epi16(w, 6), mask));
            _mm256_store_si256(out + kGemmRows, _mm256_and_si256(_mm256_srli_epi16(w, 4), mask));
            _mm256_store_si256(out + 2 * kGemmRows, _mm256_and_si256(_mm256_srli_epi16(w, 2), mask));
            _mm256_store_si256(out + 3 * kGemmRows, _mm256_and_si256(w, mask));
        }
    }
}

// Sums of four vectors of 32-bit lanes.
inline __m128i sum_each(__m256i a, __m256i b, __m256i c, __m256i d) {
    const __m256i sums = _mm256_hadd_epi32(_mm256_hadd_epi32(a, b), _mm256_hadd_epi32(c, d));
    return _mm_add_epi32(_mm256_castsi256_si128(sums), _mm256_extracti128_si256(sums, 1));
}

// sums[t][r] = codes . x over `steps` (1 to 64) times 32 columns; sums[t] has room for eight numbers.
inline void tile_6x2(const std::uint8_t* codes, const std::int8_t* x0, const std::int8_t* x1, std::size_t steps,
                     std::int32_t sums[2][8]) {
    __m256i a0, a1, a2, a3, a4, a5, b0, b1, b2, b3, b4, b5, xa, xb, w, product;
#define STERNA_ROW(offset, a, b)           \
    "vmovdqa " #offset                     \
    "(%[codes]), %[w]\n"                   \
    "vpmaddubsw %[xa], %[w], %[product]\n" \
    "vpmaddubsw %[xb], %[w], %[w]\n"       \
    "vpaddw %[product], %[" #a "], %[" #a  \
    "]\n"                                  \
    "vpaddw %[w], %[" #b "], %[" #b "]\n"
#define STERNA_ZERO(a) "vpxor %[" #a "], %[" #a "], %[" #a "]\n"
    asm volatile(STERNA_ZERO(a0) STERNA_ZERO(a1) STERNA_ZERO(a2) STERNA_ZERO(a3) STERNA_ZERO(a4) STERNA_ZERO(a5)  //
                 STERNA_ZERO(b0) STERNA_ZERO(b1) STERNA_ZERO(b2) STERNA_ZERO(b3) STERNA_ZERO(b4) STERNA_ZERO(b5)  //
                 "1:\n"
                 "vmovdqu (%[x0]), %[xa]\n"
                 "vmovdqu (%[x1]), %[xb]\n"  //
                 STERNA_ROW(0, a0, b0) STERNA_ROW(32, a1, b1) STERNA_ROW(64, a2, b2) STERNA_ROW(96, a3, b3)
                     STERNA_ROW(128, a4, b4) STERNA_ROW(160, a5, b5)  //
                 "add $192, %[codes]\n"
                 "add $32, %[x0]\n"
                 "add $32, %[x1]\n"
                 "dec %[steps]\n"
                 "jnz 1b\n"
                 : [codes] "+r"(codes), [x0] "+r"(x0), [x1] "+r"(x1), [steps] "+r"(steps), [a0] "=&x"(a0),
                   [a1] "=&x"(a1), [a2] "=&x"(a2), [a3] "=&x"(a3), [a4] "=&x"(a4), [a5] "=&x"(a5), [b0] "=&x"(b0),
                   [b1] "=&x"(b1), [b2] "=&x"(b2), [b3] "=&x"(b3), [b4] "=&x"(b4), [b5] "=&x"(b5), [xa] "=&x"(xa),
                   [xb] "=&x"(xb), [w] "=&x"(w), [product] "=&x"(product)
                 :
                 : "cc", "memory");
#undef STERNA_ROW
#undef STERNA_ZERO
    const __m256i ones = _mm256_set1_epi16(1);
    const auto widen = [&](__m256i v) { return _mm256_madd_epi16(v, ones); };
    const auto store = [&](std::int32_t* out, __m256i v0, __m256i v1, __m256i v2, __m256i v3, __m256i v4, __m256i v5) {
        _mm_storeu_si128(reinterpret_cast<__m128i*>(out), sum_each(widen(v0), widen(v1), widen(v2), widen(v3)));
        _mm_storeu_si128(reinterpret_cast<__m128i*>(out + 4), sum_each(widen(v4), widen(v5), widen(v4), widen(v5)));
    };
    store(sums[0], a0, a1, a2, a3, a4, a5);
    store(sums[1], b0, b1, b2, b3, b4, b5);
}

// As Kernels::ternary_dot, for enough tokens to pay for unpacking.
void ternary_gemm(const std::uint8_t* rows, std::size_t row_bytes, std::size_t n_rows, const std::int8_t* x,
                  std::size_t x_stride, const std::int32_t* x_sum, std::size_t n_tokens, std::size_t cols,
                  std::int32_t* dots, std::size_t dots_stride) {
    alignas(32) std::uint8_t codes[kGemmSteps * kGemmRows * 32];
    for (std::size_t t = 0; t < n_tokens; ++t)
        for (std::size_t r = 0; r < n_rows; ++r) dots[t * dots_stride + r] = -x_sum[t];
    for (std::size_t r = 0; r < n_rows; r += kGemmRows) {
        // The next six rows come from memory while these are multiplied.
        const std::uint8_t* next = rows + (r + kGemmRows) * row_bytes;
        for (std::size_t line = 0; line < kGemmRows * row_bytes; line += 64)
            _mm_prefetch(reinterpret_cast<const char*>(next + line), _MM_HINT_T1);
        for (std::size_t k = 0; k < cols; k += 32 * kGemmSteps) {
            const std::size_t steps = smaller(kGemmSteps, (cols - k) / 32), count = smaller(kGemmRows, n_rows - r);
            unpack_rows(rows + r * row_bytes + k / 4, row_bytes, count, steps / 4, codes);
            for (std::size_t t = 0; t < n_tokens; t += 2) {
                const std::size_t second = smaller(t + 1, n_tokens - 1);  // an odd last token is its own partner
                std::int32_t sums[2][8];
                tile_6x2(codes, x + t * x_stride + k, x + second * x_stride + k, steps, sums);
                for (std::size_t i = 0; i < count; ++i) dots[t * dots_stride + r + i] += sums[0][i];
                if (second != t)
                    for (std::size_t i = 0; i < count; ++i) dots[second * dots_stride + r + i] += sums[1][i];
            }
        }
    }
}

}  // namespace
}  // namespace sterna

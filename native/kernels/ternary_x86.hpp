// Ternary dot products on x86, for any multiply-add instruction: `Isa` brings
//
//   template <int T> static void row(...)   one row and T tokens, codes unpacked in registers
//   static void tile(codes, x0, x1, steps, sums)   six rows whose codes are unpacked already, and two tokens
//
// Few tokens take rows one after the other: a single stream of memory is what the prefetchers serve best, two
// interleaved ones get half the bandwidth (docs/kernels.md). For many tokens the codes of six rows are unpacked into
// the first cache, then meet two tokens at a time. A tile keeps 6 x 2 sums in registers; per 32 columns it does 12
// multiply-adds for 8 loads, so the multipliers never wait.
#pragma once

#include <immintrin.h>

#include "wide_avx2.hpp"

namespace sterna {
namespace {

constexpr std::size_t kGemmRows = 6;
constexpr std::size_t kGemmSteps = 64;  // of 32 columns: the unpacked codes take 12 kB

inline std::size_t smaller(std::size_t a, std::size_t b) {
    return a < b ? a : b;
}

inline std::int32_t sum32(__m256i v) {
    __m128i s = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
    s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0x4e));
    s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0xb1));
    return _mm_cvtsi128_si32(s);
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

// Sums of six rows, from twelve vectors of 32-bit lanes: a for the first token, b for the second.
inline void store_sums(const __m256i a[6], const __m256i b[6], std::int32_t sums[2][8]) {
    const auto store = [](std::int32_t* out, const __m256i* v) {
        _mm_storeu_si128(reinterpret_cast<__m128i*>(out), sum_each(v[0], v[1], v[2], v[3]));
        _mm_storeu_si128(reinterpret_cast<__m128i*>(out + 4), sum_each(v[4], v[5], v[4], v[5]));
    };
    store(sums[0], a);
    store(sums[1], b);
}

// The loop of a tile: `steps` times 32 columns of the codes of six rows and of two tokens, into a[6] and b[6].
// ROW(offset, a, b) is the assembly of one row: codes at `offset` times xa into a, times xb into b; it may use w and
// product. In assembly, because compilers spill or move some of the twelve sums.
#define STERNA_ZERO(a) "vpxor %[" #a "], %[" #a "], %[" #a "]\n"
#define STERNA_TILE(ROW) \
    asm volatile(                                                                                                     \
        STERNA_ZERO(a0) STERNA_ZERO(a1) STERNA_ZERO(a2) STERNA_ZERO(a3) STERNA_ZERO(a4) STERNA_ZERO(a5)               \
        STERNA_ZERO(b0) STERNA_ZERO(b1) STERNA_ZERO(b2) STERNA_ZERO(b3) STERNA_ZERO(b4) STERNA_ZERO(b5)               \
        "1:\n"                                                                                                        \
        "vmovdqu (%[x0]), %[xa]\n"                                                                                    \
        "vmovdqu (%[x1]), %[xb]\n"                                                                                    \
        ROW(0, a0, b0) ROW(32, a1, b1) ROW(64, a2, b2) ROW(96, a3, b3) ROW(128, a4, b4) ROW(160, a5, b5)              \
        "add $192, %[codes]\n"                                                                                        \
        "add $32, %[x0]\n"                                                                                            \
        "add $32, %[x1]\n"                                                                                            \
        "dec %[steps]\n"                                                                                              \
        "jnz 1b\n"                                                                                                    \
        : [codes] "+r"(codes), [x0] "+r"(x0), [x1] "+r"(x1), [steps] "+r"(steps), [a0] "=&x"(a[0]),                   \
          [a1] "=&x"(a[1]), [a2] "=&x"(a[2]), [a3] "=&x"(a[3]), [a4] "=&x"(a[4]), [a5] "=&x"(a[5]),                   \
          [b0] "=&x"(b[0]), [b1] "=&x"(b[1]), [b2] "=&x"(b[2]), [b3] "=&x"(b[3]), [b4] "=&x"(b[4]),                   \
          [b5] "=&x"(b[5]), [xa] "=&x"(xa), [xb] "=&x"(xb), [w] "=&x"(w), [product] "=&x"(product)                    \
        :                                                                                                             \
        : "cc", "memory")

// As Kernels::ternary_dot, for enough tokens to pay for unpacking.
template <class Isa>
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
                Isa::tile(codes, x + t * x_stride + k, x + second * x_stride + k, steps, sums);
                for (std::size_t i = 0; i < count; ++i) dots[t * dots_stride + r + i] += sums[0][i];
                if (second != t)
                    for (std::size_t i = 0; i < count; ++i) dots[second * dots_stride + r + i] += sums[1][i];
            }
        }
    }
}

template <class Isa, int T>
void rows_dot(const std::uint8_t* rows, std::size_t row_bytes, std::size_t n_rows, const std::int8_t* x,
              std::size_t x_stride, const std::int32_t* x_sum, std::size_t cols, std::int32_t* dots,
              std::size_t dots_stride) {
    for (std::size_t r = 0; r < n_rows; ++r)
        Isa::template row<T>(rows + r * row_bytes, x, x_stride, x_sum, cols, dots + r, dots_stride);
}

template <class Isa>
void ternary_dot(const std::uint8_t* rows, std::size_t row_bytes, std::size_t n_rows, const std::int8_t* x,
                 std::size_t x_stride, const std::int32_t* x_sum, std::size_t n_tokens, std::size_t cols,
                 std::int32_t* dots, std::size_t dots_stride) {
    constexpr std::size_t kEnoughTokens = 20;  // to pay for unpacking
    if (n_tokens >= kEnoughTokens)
        return ternary_gemm<Isa>(rows, row_bytes, n_rows, x, x_stride, x_sum, n_tokens, cols, dots, dots_stride);
    constexpr decltype(&rows_dot<Isa, 1>) kByTokens[] = {rows_dot<Isa, 1>, rows_dot<Isa, 2>, rows_dot<Isa, 3>,
                                                         rows_dot<Isa, 4>};
    constexpr std::size_t kMost = 4;
    for (std::size_t t = 0; t < n_tokens; t += kMost)
        kByTokens[smaller(kMost, n_tokens - t) - 1](rows, row_bytes, n_rows, x + t * x_stride, x_stride, x_sum + t,
                                                    cols, dots + t * dots_stride, dots_stride);
}

}  // namespace
}  // namespace sterna

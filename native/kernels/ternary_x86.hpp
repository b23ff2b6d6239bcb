// Ternary dot products on x86, for any multiply-add instruction: `Isa` brings
//
//   template <int T> static void row(...)   one row and T tokens, codes unpacked in registers
//   template <bool Add> static void tile(codes, x0, x1, steps, sums)   six rows whose codes are unpacked already, and
//       two tokens: sets `sums`, or adds to them
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
constexpr std::size_t kGemmSteps = 64;   // of 32 columns: the unpacked codes take 12 kB
constexpr std::size_t kGemmTokens = 64;  // whose sums take 12 kB

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

// What a tile adds up: 32-bit lanes of six rows times a first and a second token.
struct TileSums {
    __m256i a[kGemmRows], b[kGemmRows];
};

// A token's place in the output, and what makes floats of its sums.
struct TileOut {
    float* out;
    std::int32_t x_sum;
    float factor;
};

// out[r] = (sum of the lanes of row r - x_sum) * factor, for both tokens; writes `n_rows` of the six.
inline void store_sums(const TileSums& sums, std::size_t n_rows, const TileOut& a, const TileOut& b) {
    const auto scaled = [](__m128i dots, __m128i x_sums, __m128 factors) {
        return _mm_mul_ps(_mm_cvtepi32_ps(_mm_sub_epi32(dots, x_sums)), factors);
    };
    const __m128i a_sum = _mm_set1_epi32(a.x_sum), b_sum = _mm_set1_epi32(b.x_sum);
    const __m128 a_factor = _mm_set1_ps(a.factor), b_factor = _mm_set1_ps(b.factor);
    const __m128 a_first = scaled(sum_each(sums.a[0], sums.a[1], sums.a[2], sums.a[3]), a_sum, a_factor);
    const __m128 b_first = scaled(sum_each(sums.b[0], sums.b[1], sums.b[2], sums.b[3]), b_sum, b_factor);
    const __m128 last = scaled(sum_each(sums.a[4], sums.a[5], sums.b[4], sums.b[5]), _mm_unpacklo_epi64(a_sum, b_sum),
                               _mm_movelh_ps(a_factor, b_factor));
    const auto store = [n_rows](float* out, __m128 first, __m128 rest) {
        float all[8];
        float* to = n_rows == kGemmRows ? out : all;
        _mm_storeu_ps(to, first);
        _mm_storel_pi(reinterpret_cast<__m64*>(to + 4), rest);
        if (to == all)
            for (std::size_t r = 0; r < n_rows; ++r) out[r] = all[r];
    };
    store(b.out, b_first, _mm_movehl_ps(last, last));
    store(a.out, a_first, last);  // last: an odd token is its own partner
}

// The loop of a tile: `steps` (a multiple of 4) times 32 columns of the codes of six rows and of two tokens, into a[6]
// and b[6]. ROW(offset, a, b) is the assembly of one row: codes at `offset` times xa into a, times xb into b; it may
// use w and product. In assembly, because compilers spill or move some of the twelve sums; four steps a round, because
// the loop's own additions take ports from the multiplications.
#define STERNA_ZERO(a) "vpxor %[" #a "], %[" #a "], %[" #a "]\n"
#define STERNA_STEP(ROW, step)                                                                         \
    "vmovdqu 32*" #step                                                                                \
    "(%[x0]), %[xa]\n"                                                                                 \
    "vmovdqu 32*" #step "(%[x0], %[x1]), %[xb]\n" ROW(192 * step, a0, b0) ROW(192 * step + 32, a1, b1) \
        ROW(192 * step + 64, a2, b2) ROW(192 * step + 96, a3, b3) ROW(192 * step + 128, a4, b4)        \
            ROW(192 * step + 160, a5, b5)
#define STERNA_TILE(ROW) \
    asm volatile(                                                                                                     \
        STERNA_ZERO(a0) STERNA_ZERO(a1) STERNA_ZERO(a2) STERNA_ZERO(a3) STERNA_ZERO(a4) STERNA_ZERO(a5)               \
        STERNA_ZERO(b0) STERNA_ZERO(b1) STERNA_ZERO(b2) STERNA_ZERO(b3) STERNA_ZERO(b4) STERNA_ZERO(b5)               \
        "1:\n"                                                                                                        \
        STERNA_STEP(ROW, 0) STERNA_STEP(ROW, 1) STERNA_STEP(ROW, 2) STERNA_STEP(ROW, 3)                               \
        "add $768, %[codes]\n"                                                                                        \
        "add $128, %[x0]\n"                                                                                           \
        "sub $4, %[steps]\n"                                                                                          \
        "jnz 1b\n"                                                                                                    \
        : [codes] "+r"(codes), [x0] "+r"(x0), [steps] "+r"(steps), [a0] "=&x"(a[0]), [a1] "=&x"(a[1]),                \
          [a2] "=&x"(a[2]), [a3] "=&x"(a[3]), [a4] "=&x"(a[4]), [a5] "=&x"(a[5]), [b0] "=&x"(b[0]),                   \
          [b1] "=&x"(b[1]), [b2] "=&x"(b[2]), [b3] "=&x"(b[3]), [b4] "=&x"(b[4]), [b5] "=&x"(b[5]),                   \
          [xa] "=&x"(xa), [xb] "=&x"(xb), [w] "=&x"(w), [product] "=&x"(product)                                      \
        : [x1] "r"(x1 - x0)                                                                                           \
        : "cc", "memory")

// As Kernels::ternary_dot, for enough tokens to pay for unpacking, at most kGemmTokens.
template <class Isa>
void ternary_gemm(const std::uint8_t* rows, std::size_t row_bytes, std::size_t n_rows, float scale,
                  const Int8Activations& x, std::size_t n_tokens, std::size_t cols, float* out,
                  std::size_t out_stride) {
    alignas(32) std::uint8_t codes[kGemmSteps * kGemmRows * 32];
    TileSums sums[kGemmTokens / 2];
    float factors[kGemmTokens];
    for (std::size_t t = 0; t < n_tokens; ++t) factors[t] = scale / x.scales[t];
    const auto place = [&](std::size_t t, std::size_t r) {
        return TileOut{out + t * out_stride + r, x.sums[t], factors[t]};
    };
    // Pieces of equal length, whole blocks of 128 columns each.
    const std::size_t blocks = cols / 128, pieces = (4 * blocks + kGemmSteps - 1) / kGemmSteps;
    for (std::size_t r = 0; r < n_rows; r += kGemmRows) {
        const std::size_t count = smaller(kGemmRows, n_rows - r);
        // The next six rows come from memory while these are multiplied: a line or two with every tile, since a burst
        // would keep the tile's own loads waiting.
        const std::uint8_t *next = rows + (r + kGemmRows) * row_bytes, *next_end = next + kGemmRows * row_bytes;
        const std::size_t tiles = pieces * ((n_tokens + 1) / 2);
        const std::size_t lines_a_tile = (kGemmRows * row_bytes / 64 + tiles) / tiles;
        for (std::size_t piece = 0; piece < pieces; ++piece) {
            const std::size_t first = blocks * piece / pieces, last = blocks * (piece + 1) / pieces;
            unpack_rows(rows + r * row_bytes + 32 * first, row_bytes, count, last - first, codes);
            for (std::size_t t = 0; t < n_tokens; t += 2) {
                const std::size_t second = smaller(t + 1, n_tokens - 1);
                const std::int8_t *x0 = x.codes + t * x.stride + 128 * first,
                                  *x1 = x.codes + second * x.stride + 128 * first;
                TileSums& tile = sums[t / 2];
                for (std::size_t line = 0; line < lines_a_tile && next < next_end; ++line, next += 64)
                    _mm_prefetch(reinterpret_cast<const char*>(next), _MM_HINT_T1);
                if (piece == 0)
                    Isa::template tile<false>(codes, x0, x1, 4 * (last - first), tile);
                else
                    Isa::template tile<true>(codes, x0, x1, 4 * (last - first), tile);
                if (piece + 1 == pieces) store_sums(tile, count, place(t, r), place(second, r));
            }
        }
    }
}

// As Kernels::ternary_dot, for T tokens.
template <class Isa, int T>
void rows_dot(const std::uint8_t* rows, std::size_t row_bytes, std::size_t n_rows, float scale,
              const Int8Activations& x, std::size_t cols, float* out, std::size_t out_stride) {
    float factors[T];
    for (int t = 0; t < T; ++t) factors[t] = scale / x.scales[t];
    for (std::size_t r = 0; r < n_rows; ++r) {
        std::int32_t dots[T];
        Isa::template row<T>(rows + r * row_bytes, x.codes, x.stride, cols, dots);
        for (int t = 0; t < T; ++t)
            out[static_cast<std::size_t>(t) * out_stride + r] = static_cast<float>(dots[t] - x.sums[t]) * factors[t];
    }
}

template <class Isa>
void ternary_dot(const std::uint8_t* rows, std::size_t row_bytes, std::size_t n_rows, float scale,
                 const Int8Activations& x, std::size_t n_tokens, std::size_t cols, float* out, std::size_t out_stride) {
    constexpr std::size_t kEnoughTokens = 5;  // to pay for unpacking
    constexpr decltype(&rows_dot<Isa, 1>) kByTokens[] = {rows_dot<Isa, 1>, rows_dot<Isa, 2>, rows_dot<Isa, 3>,
                                                         rows_dot<Isa, 4>};
    for (std::size_t t = 0, n; t < n_tokens; t += n) {
        const Int8Activations rest{x.codes + t * x.stride, x.sums + t, x.scales + t, x.stride};
        float* place = out + t * out_stride;
        n = n_tokens - t;
        if (n >= kEnoughTokens) {
            n = smaller(n, kGemmTokens);
            ternary_gemm<Isa>(rows, row_bytes, n_rows, scale, rest, n, cols, place, out_stride);
        } else {
            kByTokens[n - 1](rows, row_bytes, n_rows, scale, rest, cols, place, out_stride);
        }
    }
}

}  // namespace
}  // namespace sterna

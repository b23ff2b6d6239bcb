// The tile of many tokens on x86 (ternary_dot.hpp), for any multiply-add instruction. `Op` provides
//
//   Vec   a register of 32-bit lanes, each with four codes, four activations, or sums of their products
//   multiply_add(sum, codes, x)   adds to every lane of `sum` the products of its codes and activations
//   widen(sum)   converts the sums to 32 bits
//   kGroups, kTokens, kBlocks   the size of a tile: vectors of rows, tokens, blocks of 128 columns
//
// A lane belongs to one row, four activations of a token are broadcast to all lanes, and no sum is ever folded across
// lanes. The tile keeps kGroups x kTokens vectors of sums in registers. For every four columns it does that many
// multiply-adds with kGroups + kTokens loads, so the multipliers do not wait.
#pragma once

#include <immintrin.h>

#include "ceilings.hpp"
#include "int15_avx2.hpp"
#include "ternary_dot.hpp"

namespace sterna {
namespace {

// dots[i] = the sum over the lanes of sums[i], for kFold of them.
inline void fold_rows(const __m256i (&sums)[kFold], std::int32_t (&dots)[kFold]) {
    const __m256i a = _mm256_hadd_epi32(_mm256_hadd_epi32(sums[0], sums[1]), _mm256_hadd_epi32(sums[2], sums[3]));
    const __m256i b = _mm256_hadd_epi32(_mm256_hadd_epi32(sums[4], sums[5]), _mm256_hadd_epi32(sums[6], sums[7]));
    const __m256i all = _mm256_add_epi32(_mm256_permute2x128_si256(a, b, 0x20), _mm256_permute2x128_si256(a, b, 0x31));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(dots), all);
}

// Transposes sixteen bytes of eight rows: vector i holds bytes 4 i to 4 i + 3 of every row.
inline void transpose(const std::uint8_t* const rows[8], std::size_t at, __m256i out[4]) {
    __m256i pair[4];
    for (std::size_t i = 0; i < 4; ++i)
        pair[i] = _mm256_loadu2_m128i(reinterpret_cast<const __m128i*>(rows[i + 4] + at),
                                      reinterpret_cast<const __m128i*>(rows[i] + at));
    const __m256i low01 = _mm256_unpacklo_epi32(pair[0], pair[1]), low23 = _mm256_unpacklo_epi32(pair[2], pair[3]);
    const __m256i high01 = _mm256_unpackhi_epi32(pair[0], pair[1]), high23 = _mm256_unpackhi_epi32(pair[2], pair[3]);
    out[0] = _mm256_unpacklo_epi64(low01, low23);
    out[1] = _mm256_unpackhi_epi64(low01, low23);
    out[2] = _mm256_unpacklo_epi64(high01, high23);
    out[3] = _mm256_unpackhi_epi64(high01, high23);
}

template <class Op>
struct TileX86 {
    using Vec = typename Op::Vec;
    static constexpr std::size_t kGroups = Op::kGroups, kTokens = Op::kTokens, kBlocks = Op::kBlocks;
    static constexpr std::size_t kRows = kGroups * sizeof(Vec) / 4;
    using Partial = __m256i;

    static void fold(const Partial (&sums)[kFold], std::int32_t (&dots)[kFold]) { fold_rows(sums, dots); }

    // The layout is codes[k / 4][row][4].
    static void unpack(const std::uint8_t* rows, std::size_t row_bytes, std::size_t n_rows, std::size_t blocks,
                       std::uint8_t* codes) {
        const __m256i mask = _mm256_set1_epi8(3);
        for (std::size_t r = 0; r < kRows; r += 8) {
            const std::uint8_t* eight[8];
            for (std::size_t i = 0; i < 8; ++i) eight[i] = rows + smaller(r + i, n_rows - 1) * row_bytes;
            for (std::size_t part = 0; part < 2 * blocks; ++part) {
                if (part % 4 == 0)
                    for (const std::uint8_t* row : eight) __builtin_prefetch(row + kRows * row_bytes + 16 * part, 0, 2);
                __m256i packed[4];
                transpose(eight, 16 * part, packed);
                for (std::size_t i = 0; i < 4; ++i) {
                    const auto store = [&](std::size_t quarter, __m256i w) {
                        const std::size_t step = 32 * (part / 2) + 8 * quarter + 4 * (part % 2) + i;
                        _mm256_store_si256(reinterpret_cast<__m256i*>(codes + 4 * (step * kRows + r)),
                                           _mm256_and_si256(w, mask));
                    };
                    store(0, _mm256_srli_epi16(packed[i], 6));
                    store(1, _mm256_srli_epi16(packed[i], 4));
                    store(2, _mm256_srli_epi16(packed[i], 2));
                    store(3, packed[i]);
                }
            }
        }
    }

    template <std::size_t T>
    static void tile(const std::uint8_t* codes, const std::int8_t* x, std::size_t x_stride, std::size_t blocks,
                     std::int32_t* sums) {
        constexpr std::size_t kRound = 4;  // steps an iteration: the loop's own additions take execution ports, too
        Vec acc[T][kGroups] = {};
        for (std::size_t round = 0; round < 32 / kRound * blocks; ++round) {
#pragma GCC unroll 4
            for (std::size_t step = 0; step < kRound; ++step) {
                Vec w[kGroups];
#pragma GCC unroll 4
                for (std::size_t g = 0; g < kGroups; ++g)
                    std::memcpy(&w[g], codes + (step * kGroups + g) * sizeof(Vec), sizeof(Vec));
#pragma GCC unroll 8
                for (std::size_t t = 0; t < T; ++t) {
                    std::int32_t four;
                    std::memcpy(&four, x + t * x_stride + 4 * step, 4);
                    const Vec all = Vec{} + four;
#pragma GCC unroll 4
                    for (std::size_t g = 0; g < kGroups; ++g) Op::multiply_add(acc[t][g], w[g], all);
                }
            }
            codes += kRound * kGroups * sizeof(Vec);
            x += 4 * kRound;
        }
#pragma GCC unroll 8
        for (std::size_t t = 0; t < T; ++t)
#pragma GCC unroll 4
            for (std::size_t g = 0; g < kGroups; ++g) {
                std::int32_t* at = sums + t * kRows + g * sizeof(Vec) / 4;
                Vec sum;
                std::memcpy(&sum, at, sizeof(Vec));
                sum += Op::widen(acc[t][g]);
                std::memcpy(at, &sum, sizeof(Vec));
            }
    }
};

// The ceiling of a tile: its multiply-adds without its loads.
template <class Op>
std::uint64_t multiply_add(std::size_t rounds) {
    constexpr std::size_t kSums = 10;  // enough to hide the latency
    typename Op::Vec sums[kSums] = {}, codes = {}, x = {};
    for (auto& sum : sums) opaque(sum);
    opaque(codes);
    opaque(x);
    for (std::size_t round = 0; round < rounds; ++round)
#pragma GCC unroll 10
        for (auto& sum : sums) Op::multiply_add(sum, codes, x);
    for (auto& sum : sums) opaque(sum);
    return rounds * kSums * sizeof(codes);
}

}  // namespace
}  // namespace sterna

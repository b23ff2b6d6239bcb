// Products of floats with the tiles of AMX. A float is the sum of two numbers of bfloat16, high and low, to 2^-17 of
// it; products are sums of high * high, high * low and low * high in float32. What a lane adds, and in which order,
// differs from the products of vectors, so these have bits of their own.
//
//   A   [16 tokens][32 terms]           as `split` writes them
//   B   [32 terms / 2][16 columns][2]   packed here, once for all tokens of a call
//   C   [16 tokens][16 columns]         float32 sums
//
// Four tiles of C, two of tokens and two of columns, meet two of A and two of B.
#pragma once

#include <immintrin.h>

#include "amx_tiles.hpp"
#include "kernels.hpp"

namespace sterna {
namespace {

template <std::size_t kC, std::size_t kA, std::size_t kB>
void tile_multiply_add_bf16() {
    asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(kC), "i"(kA), "i"(kB));
}

// The high and the low parts of 32 floats.
struct Halves {
    __m512i high, low;
};

inline Halves halves(__m512 first, __m512 second) {
    const auto rest = [](__m512 x, __m256i high) {
        return _mm512_sub_ps(x, _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(high), 16)));
    };
    const auto high = reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(second, first));
    const __m512 a = rest(first, _mm512_castsi512_si256(high)), b = rest(second, _mm512_extracti64x4_epi64(high, 1));
    return {high, reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(b, a))};
}

inline void split(const float* x, std::size_t n, std::uint16_t* out) {
    for (std::size_t k = 0; k < n; k += kSplitTerms, out += kSplitBlock) {
        const Halves parts = halves(_mm512_loadu_ps(x + k), _mm512_loadu_ps(x + k + 16));
        _mm512_storeu_si512(out, parts.high);
        _mm512_storeu_si512(out + kSplitBlock / 2, parts.low);
    }
}

class SplitAmx {
public:
    static void add(const SplitTask& task) {
        const std::size_t steps = task.terms / kSplitTerms;
        alignas(64) Tile b[2][kMostSplitTerms / kSplitTerms][2];
        const Tiles configured(0, kTileLines);
        for (std::size_t column = 0; column < task.columns; column += kSplitColumns) {
            for (std::size_t i = 0; i < 2; ++i)
                for (std::size_t step = 0; step < steps; ++step)
                    pack(task, column + i * kTileLines, step * kSplitTerms, b[i][step]);
            for (std::size_t token = 0; token < task.tokens; token += kSplitTokens) {
                float* upper = task.c + token * task.columns + column * kTileLines;
                float* lower = upper + kTileLines * task.columns;
                constexpr std::size_t kSums = kTileLines * kTileLines;
                tile_load<0>(upper, 64), tile_load<1>(upper + kSums, 64);
                tile_load<2>(lower, 64), tile_load<3>(lower + kSums, 64);
                const std::uint16_t* a = task.a + token / kSplitTokens * task.a_stride;
                for (std::size_t step = 0; step < steps; ++step, a += kSplitBlock) {
                    tile_load<4>(a, 64);
                    tile_load<5>(a + kSplitBlock / 4, 64);
                    tile_load<6>(b[0][step][1], 64);
                    tile_load<7>(b[1][step][1], 64);
                    multiply();
                    tile_load<6>(b[0][step][0], 64);
                    tile_load<7>(b[1][step][0], 64);
                    multiply();
                    tile_load<4>(a + kSplitBlock / 2, 64);
                    tile_load<5>(a + kSplitBlock / 4 * 3, 64);
                    multiply();
                }
                tile_store<0>(upper), tile_store<1>(upper + kSums);
                tile_store<2>(lower), tile_store<3>(lower + kSums);
            }
        }
    }

private:
    using Tile = std::uint32_t[kTileLines][kTileLines];

    static void multiply() {
        tile_multiply_add_bf16<0, 4, 6>();
        tile_multiply_add_bf16<1, 4, 7>();
        tile_multiply_add_bf16<2, 5, 6>();
        tile_multiply_add_bf16<3, 5, 7>();
    }

    // The high and the low tile of 32 terms and 16 columns.
    static void pack(const SplitTask& task, std::size_t column, std::size_t term, Tile (&out)[2]) {
        if (task.b_by_columns) {
            Tile high, low;
            for (std::size_t j = 0; j < kTileLines; ++j) {
                const float* b = task.b + (column + j) * task.b_stride + term;
                const Halves parts = halves(_mm512_loadu_ps(b), _mm512_loadu_ps(b + 16));
                _mm512_storeu_si512(high[j], parts.high);
                _mm512_storeu_si512(low[j], parts.low);
            }
            for (std::size_t p = 0; p < kTileLines; ++p)
                for (std::size_t j = 0; j < kTileLines; ++j) out[0][p][j] = high[j][p], out[1][p][j] = low[j][p];
            return;
        }
        const __m512i pairs = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22,
                                               6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
        for (std::size_t p = 0; p < kTileLines; ++p) {
            const float* b = task.b + (term + 2 * p) * task.b_stride + column;
            const Halves parts = halves(_mm512_loadu_ps(b), _mm512_loadu_ps(b + task.b_stride));
            _mm512_storeu_si512(out[0][p], _mm512_permutexvar_epi16(pairs, parts.high));
            _mm512_storeu_si512(out[1][p], _mm512_permutexvar_epi16(pairs, parts.low));
        }
    }
};

}  // namespace
}  // namespace sterna

// Sums of products in float32 in which every sum runs over its terms in order, one column in each lane: nothing is
// folded, so a row has the same bits however many rows are computed together, and on registers of any width.
#pragma once

#include "kernels.hpp"
#include "lanes.hpp"

namespace sterna {
namespace {

// Rows of a tile of two and of four times sixteen columns, whose sums stay in registers.
#if defined(__AVX512F__)
constexpr std::size_t kTallTile = 8, kFlatTile = 2;
#else
constexpr std::size_t kTallTile = 2, kFlatTile = 1;
#endif

// R rows and L * 16 columns. Few rows wait for memory, so rows of b that come later are fetched.
template <std::size_t R, std::size_t L>
void add_products_tile(const ProductTask& task, std::size_t row, std::size_t column) {
    constexpr std::size_t kFewRows = 2, kAhead = 32;
    const float* a = task.a + row * task.a_stride;
    const float* b = task.b + column;
    float* c = task.c + row * task.c_stride + column;
    Lanes sums[R][L];
    for (std::size_t r = 0; r < R; ++r)
        for (std::size_t l = 0; l < L; ++l) sums[r][l] = load(c + r * task.c_stride + l * kLanes);
    for (std::size_t k = 0; k < task.terms; ++k, b += task.b_stride) {
        Lanes factors[L];
        for (std::size_t l = 0; l < L; ++l) factors[l] = load(b + l * kLanes);
        for (std::size_t l = 0; R <= kFewRows && l < L; ++l)
            __builtin_prefetch(b + kAhead * task.b_stride + l * kLanes);
        for (std::size_t r = 0; r < R; ++r) {
            const Lanes x = splat(a[r * task.a_stride + k]);
            for (std::size_t l = 0; l < L; ++l) sums[r][l] = fma(x, factors[l], sums[r][l]);
        }
    }
    for (std::size_t r = 0; r < R; ++r)
        for (std::size_t l = 0; l < L; ++l) store(c + r * task.c_stride + l * kLanes, sums[r][l]);
}

// The R rows from `row` on and the columns from `column` on, in tiles of L * 16 columns, then of half as many.
template <std::size_t R, std::size_t L>
void add_products_rows(const ProductTask& task, std::size_t row, std::size_t column = 0) {
    for (; column + L * kLanes <= task.columns; column += L * kLanes) add_products_tile<R, L>(task, row, column);
    if constexpr (L > 1) add_products_rows<R, L / 2>(task, row, column);
}

void add_products(const ProductTask& task) {
    std::size_t row = 0;
    for (; row + kTallTile <= task.rows; row += kTallTile) add_products_rows<kTallTile, 2>(task, row);
    for (; row + kFlatTile <= task.rows; row += kFlatTile) add_products_rows<kFlatTile, 4>(task, row);
    if (row < task.rows) add_products_rows<1, 4>(task, row);
}

void decays(const float* x, std::size_t n, float* out) {
    const Lanes least = splat(kLeastDecay), zero = splat(0.0f);
    for (std::size_t k = 0; k < n; k += kLanes) {
        const Lanes exponents = load(x + k);
        Lanes factors = exp(exponents);
        for (int i = 0; i < kRegisters; ++i) factors.v[i] = exponents.v[i] < least.v[i] ? zero.v[i] : factors.v[i];
        store(out + k, factors);
    }
}

}  // namespace
}  // namespace sterna

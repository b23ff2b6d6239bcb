// Sums of products in float32 in which every sum runs over its terms in order, one column in each lane: nothing is
// folded, so a row has the same bits however many rows are computed together.
#pragma once

#include "kernels.hpp"
#include "lanes.hpp"

namespace sterna {
namespace {

// R rows and L * 16 columns.
template <std::size_t R, std::size_t L>
void add_products_tile(const ProductTask& task, std::size_t row, std::size_t column) {
    const float* a = task.a + row * task.a_stride;
    const float* b = task.b + column;
    float* c = task.c + row * task.c_stride + column;
    Lanes sums[R][L];
    for (std::size_t r = 0; r < R; ++r)
        for (std::size_t l = 0; l < L; ++l) sums[r][l] = load(c + r * task.c_stride + l * kLanes);
    for (std::size_t k = 0; k < task.terms; ++k, b += task.b_stride) {
        Lanes factors[L];
        for (std::size_t l = 0; l < L; ++l) factors[l] = load(b + l * kLanes);
        for (std::size_t r = 0; r < R; ++r) {
            const Lanes x = splat(a[r * task.a_stride + k]);
            for (std::size_t l = 0; l < L; ++l) sums[r][l] = fma(x, factors[l], sums[r][l]);
        }
    }
    for (std::size_t r = 0; r < R; ++r)
        for (std::size_t l = 0; l < L; ++l) store(c + r * task.c_stride + l * kLanes, sums[r][l]);
}

// The R rows from `row` on, in tiles of L * 16 columns and then of 16.
template <std::size_t R, std::size_t L>
void add_products_rows(const ProductTask& task, std::size_t row) {
    std::size_t column = 0;
    for (; column + L * kLanes <= task.columns; column += L * kLanes) add_products_tile<R, L>(task, row, column);
    for (; column < task.columns; column += kLanes) add_products_tile<R, 1>(task, row, column);
}

void add_products(const ProductTask& task) {
    std::size_t row = 0;
    for (; row + 2 <= task.rows; row += 2) add_products_rows<2, 2>(task, row);
    if (row < task.rows) add_products_rows<1, 4>(task, row);
}

void exponentials(const float* x, std::size_t n, float* out) {
    for (std::size_t k = 0; k < n; k += kLanes) store(out + k, exp(load(x + k)));
}

}  // namespace
}  // namespace sterna

// Ternary dot products for any ISA that multiplies bytes. `Isa` provides
//
//   Partial   a register of sums that add up to one dot product
//   row<T>(row, x, x_stride, cols, sums)   sums[t] = codes . x of one row and T tokens, codes unpacked in registers
//   fold(sums, dots)   the dot products of kFold rows from their sums
//   unpack(rows, row_bytes, n_rows, blocks, codes)   codes of kRows rows in the order of the tile, one a byte, for
//       `blocks` blocks of 128 columns; rows past n_rows repeat the last one; prefetches the next kRows rows
//   tile<T>(codes, x, x_stride, blocks, sums)   sums[t * kRows + r] += codes . x for kRows rows and T tokens
//   kRows, kTokens   the size of a tile; kBlocks: as many blocks as keep the tile's codes in L1
//
// Up to four tokens take rows one after the other: prefetchers serve a single stream of memory best, and two
// interleaved streams get half the bandwidth (docs/kernels.md). The sums of kFold rows are folded together. From five
// tokens on, the codes of kRows rows are unpacked to L1, then multiplied with kTokens tokens at a time.
#pragma once

#include <utility>

#include "kernels.hpp"

namespace sterna {
namespace {

constexpr std::size_t kFold = 8;
constexpr std::size_t kGemmTokens = 64;  // their sums stay in L1, their activations in L2

inline std::size_t smaller(std::size_t a, std::size_t b) {
    return a < b ? a : b;
}

// The task's tokens from `first` on, `n` of them.
inline TernaryTask tokens_of(const TernaryTask& task, std::size_t first, std::size_t n) {
    TernaryTask part = task;
    part.x.codes += first * task.x.stride;
    part.x.sums += first;
    part.x.scales += first;
    part.n_tokens = n;
    part.out.data += first * task.out.stride;
    return part;
}

// At most kGemmTokens tokens. T counts from 0 to kTokens - 1.
template <class Isa, std::size_t... T>
void ternary_gemm(std::index_sequence<T...>, const TernaryTask& task) {
    constexpr decltype(&Isa::template tile<1>) kByTokens[] = {Isa::template tile<T + 1>...};
    constexpr std::size_t kRows = Isa::kRows;
    const auto [rows, scale, x, n_tokens, cols, out] = task;
    // Tiles of equal width: after six tokens, a tile of two would keep the multipliers waiting.
    const std::size_t tiles = (n_tokens + Isa::kTokens - 1) / Isa::kTokens, width = (n_tokens + tiles - 1) / tiles;
    alignas(64) std::uint8_t codes[128 * Isa::kBlocks * kRows];
    alignas(64) std::int32_t sums[kGemmTokens * kRows];
    // Pieces of equal length, whole blocks of 128 columns each.
    const std::size_t blocks = cols / 128, pieces = (blocks + Isa::kBlocks - 1) / Isa::kBlocks;
    for (std::size_t r = 0; r < rows.count; r += kRows) {
        const std::size_t count = smaller(kRows, rows.count - r);
        for (std::size_t t = 0; t < n_tokens; ++t)
            for (std::size_t i = 0; i < kRows; ++i) sums[t * kRows + i] = -x.sums[t];
        for (std::size_t piece = 0; piece < pieces; ++piece) {
            const std::size_t first = blocks * piece / pieces, last = blocks * (piece + 1) / pieces;
            Isa::unpack(rows.data + r * rows.stride + 32 * first, rows.stride, count, last - first, codes);
            for (std::size_t t = 0; t < n_tokens; t += width)
                kByTokens[smaller(width, n_tokens - t) - 1](codes, x.codes + t * x.stride + 128 * first, x.stride,
                                                            last - first, sums + t * kRows);
        }
        for (std::size_t t = 0; t < n_tokens; ++t) {
            const float factor = scale / x.scales[t];
            for (std::size_t i = 0; i < count; ++i)
                out.data[t * out.stride + r + i] = static_cast<float>(sums[t * kRows + i]) * factor;
        }
    }
}

// T tokens, row by row.
template <class Isa, std::size_t T>
void rows_dot(const TernaryTask& task) {
    const auto [rows, scale, x, n_tokens, cols, out] = task;
    float factors[T];
    for (std::size_t t = 0; t < T; ++t) factors[t] = scale / x.scales[t];
    typename Isa::Partial partial[T][kFold] = {};
    for (std::size_t r = 0; r < rows.count; r += kFold) {
        const std::size_t count = smaller(kFold, rows.count - r);
        for (std::size_t i = 0; i < count; ++i) {
            typename Isa::Partial sums[T];
            Isa::template row<T>(rows.data + (r + i) * rows.stride, x.codes, x.stride, cols, sums);
            for (std::size_t t = 0; t < T; ++t) partial[t][i] = sums[t];
        }
        for (std::size_t t = 0; t < T; ++t) {
            std::int32_t dots[kFold];
            Isa::fold(partial[t], dots);
            for (std::size_t i = 0; i < count; ++i)
                out.data[t * out.stride + r + i] = static_cast<float>(dots[i] - x.sums[t]) * factors[t];
        }
    }
}

template <class Isa>
void ternary_dot(const TernaryTask& task) {
    constexpr decltype(&rows_dot<Isa, 1>) kFew[] = {rows_dot<Isa, 1>, rows_dot<Isa, 2>, rows_dot<Isa, 3>,
                                                    rows_dot<Isa, 4>};
    for (std::size_t t = 0, n; t < task.n_tokens; t += n) {
        n = smaller(task.n_tokens - t, kGemmTokens);
        const TernaryTask part = tokens_of(task, t, n);
        if (n <= 4)
            kFew[n - 1](part);
        else
            ternary_gemm<Isa>(std::make_index_sequence<Isa::kTokens>(), part);
    }
}

}  // namespace
}  // namespace sterna

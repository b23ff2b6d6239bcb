// Panels (panels.hpp) times few tokens: codes are multiplied from the registers that they are unpacked into, so that a
// panel is one stream of memory. Compiled once per ISA; internal linkage.
#pragma once

#include "panel_sums.hpp"

namespace sterna {
namespace {

// Tokens that share the unpacking of a code; with more, AVX2's few registers spill.
#if defined(__AVX2__) && !defined(__AVX512F__)
constexpr std::size_t kMostRowTokens = 4;
#else
constexpr std::size_t kMostRowTokens = 8;
#endif
constexpr std::size_t kIntoL2 = 16384, kIntoL1 = 1024;  // bytes ahead of use that a panel is fetched

template <class Format, std::size_t T>
void panel_rows(const PanelTask& task, std::size_t first_token) {
    using P = Panel<Format>;
    const Int15Activations& x = task.x;
    const std::uint8_t* at = task.panels;
    for (std::size_t row = 0; row < task.rows; row += kPanelRows) {
        RowVec products[T][kPanelRegisters] = {};
        TokenColumns columns[T];
        for (std::size_t t = 0; t < T; ++t) {
            const std::size_t place = (first_token + t) * x.stride;
            columns[t] = {x.high + place, x.low + place, x.values + place, group_sums<Format>(x, first_token + t)};
        }
        for (std::size_t block_of_row = 0; block_of_row < task.cols / Format::kValues; ++block_of_row) {
            RowScales block[kPanelRegisters];
            const auto take_halfs = [&] {
                for (std::size_t v = 0; v < kPanelRegisters; ++v) block[v] = halfs_at<Format>(at, v);
            };
            if constexpr (P::kHeader != 0) take_halfs();
            at += P::kHeader;
            for (std::size_t unit = 0; unit < P::kUnits; ++unit, at += P::kUnitBytes) {
                for (std::size_t line = 0; line < P::kUnitBytes; line += 64) {
                    __builtin_prefetch(at + kIntoL2 + line, 0, 2);
                    __builtin_prefetch(at + kIntoL1 + line);
                }
                if constexpr (P::kHeader == 0) take_halfs();
                unrolled<P::kGroups>([&](auto group) {
                    unrolled<kPanelRegisters>([&](auto v) {
                        CodeVec codes[P::kFours];
                        unrolled<P::kFours>(
                            [&](auto i) { codes[i] = codes_of<Format, group * P::kFours + i>(at + P::kScales, v); });
                        const RowScales scales = group_scales<Format>(block[v], at, group, v);
                        unrolled<T>([&](auto t) {
                            const TokenColumns of = columns[t].from(group * Format::kGroup, group);
                            const RowVec sum = sum_of_numbers<Format>(group_sum<Format>(codes, of), *of.sums);
                            add_group<Format::kOffset>(products[t][v], sum, scales, *of.sums);
                        });
                    });
                });
                for (auto& of : columns) of = of.from(kUnit, P::kGroups);
            }
        }
        for (std::size_t t = 0; t < T; ++t) put_products(task, first_token + t, row, kPanelRows, products[t]);
    }
}

// At most kMostRowTokens tokens. T counts from 0 to kMostRowTokens - 1.
template <class Format, std::size_t... T>
void panel_rows_of(std::index_sequence<T...>, const PanelTask& task, std::size_t first_token, std::size_t n_tokens) {
    constexpr decltype(&panel_rows<Format, 1>) kByTokens[] = {panel_rows<Format, T + 1>...};
    kByTokens[n_tokens - 1](task, first_token);
}

}  // namespace
}  // namespace sterna

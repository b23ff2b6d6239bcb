// The definition of panel_dot (panels.hpp), number by number: what scalar processors run, and what the other kernels
// are compared with.
#pragma once

#include <algorithm>
#include <array>

#include "panels.hpp"
#include "ternary_group_panels.hpp"

namespace sterna {
namespace {

constexpr std::size_t kReferenceTokens = 16;

// Column `k` of a row's field of `bits` bits.
inline int field_of(const std::uint8_t* words, int bits, int k) {
    const int four = k / 4;
    return words[4 * kPanelRows * (four * bits / 8) + k % 4] >> (four * bits % 8) & ((1 << bits) - 1);
}

// numbers[r][k] of the rows and columns of a unit.
template <class Format>
void unit_numbers(const std::uint8_t* fields, std::int16_t (&numbers)[kPanelRows][kUnit]) {
    for (int r = 0; r < kPanelRows; ++r)
        for (int k = 0; k < static_cast<int>(kUnit); ++k) {
            int code = field_of(fields + 4 * r, Format::kBits, k);
            if constexpr (Format::kMoreBits != 0)
                code |= field_of(fields + 4 * kPanelRows * Format::kBits + 4 * r, Format::kMoreBits, k)
                        << Format::kBits;
            numbers[r][k] = static_cast<std::int16_t>(number<Format>(static_cast<std::uint8_t>(code)));
        }
}

template <class Format>
void panel_reference_rows(const PanelTask& task) {
    using P = Panel<Format>;
    constexpr std::size_t kTokens = kReferenceTokens, kHalf = 2 * kPanelRows;
    const Int15Activations& x = task.x;
    const float* group_sums = Format::kGroup == 16 ? x.sixteens : x.thirty_twos;
    for (std::size_t first = 0; first < task.n_tokens; first += kTokens) {
        const std::size_t n = task.n_tokens - first < kTokens ? task.n_tokens - first : kTokens;
        const std::uint8_t* at = task.panels;
        for (std::size_t row = 0; row < task.rows; row += kPanelRows) {
            float products[kTokens][kPanelRows] = {};
            const std::uint8_t* halfs = at;
            for (std::size_t unit = 0; unit < task.cols / kUnit; ++unit, at += P::kUnitBytes) {
                if (unit % P::kUnits == 0) {
                    halfs = at;
                    at += P::kHeader;
                }
                std::int16_t numbers[kPanelRows][kUnit];
                unit_numbers<Format>(at + P::kScales, numbers);
                if (P::kHeader == 0) halfs = at;
                for (std::size_t i = 0; i < P::kGroups * kPanelRows; ++i) {
                    const std::size_t g = i / kPanelRows, r = i % kPanelRows;
                    Block block;
                    block.d = word_at(halfs + 2 * r);
                    if (Format::kOffset) block.m = word_at(halfs + kHalf + 2 * r);
                    const std::uint8_t* of_group = at + g * P::kScales / P::kGroups + r;
                    block.scales[0] = static_cast<std::int8_t>(of_group[0]);
                    if (Format::kNibbleScales) {
                        block.scales[0] = of_group[0] & 15;
                        block.mins[0] = static_cast<std::int8_t>(of_group[0] >> 4);
                    } else if (Format::kOffset) {
                        block.mins[0] = static_cast<std::int8_t>(of_group[kPanelRows]);
                    }
                    for (std::size_t t = 0; t < n; ++t) {
                        const std::size_t token = (first + t) * x.stride;
                        const std::int16_t *a = numbers[r] + g * Format::kGroup,
                                           *b = x.values + token + unit * kUnit + g * Format::kGroup;
                        std::int32_t sum = 0;
                        for (int k = 0; k < Format::kGroup; ++k) sum += a[k] * b[k];
                        products[t][r] += group_scale<Format>(block, 0) * static_cast<float>(sum);
                        if constexpr (Format::kOffset)
                            products[t][r] -= group_offset<Format>(block, 0) *
                                              group_sums[token / Format::kGroup + unit * P::kGroups + g];
                    }
                }
            }
            for (std::size_t t = 0; t < n; ++t)
                for (std::size_t r = 0; r < kPanelRows && row + r < task.rows; ++r)
                    task.out.data[(first + t) * task.out.stride + row + r] = products[t][r] / x.scales[first + t];
        }
    }
}

template <class Format>
void group_panel_reference(const PanelTask& task) {
    const GroupPanels shape{task.cols, Format::kValues};
    for (std::size_t row = 0; row < task.rows; ++row) {
        const std::size_t r = row % kTernaryRows;
        const std::uint8_t *panel = task.panels + row / kTernaryRows * shape.bytes(), *line = panel + shape.lines_at();
        std::array<float, kReferenceTokens> products;
        for (std::size_t first = 0; first < task.n_tokens; first += kReferenceTokens) {
            const std::size_t n = std::min(task.n_tokens - first, kReferenceTokens);
            products.fill(0.0f);
            for (std::size_t g = 0; g < shape.groups(); ++g) {
                std::array<std::int16_t, Format::kValues> numbers;
                for (std::size_t k = 0; k < shape.group; ++k) {
                    const std::size_t column = g * shape.group + k, of_line = column % kLineColumns;
                    const std::uint8_t byte = line[column / kLineColumns * kTernaryLine + 4 * r + of_line % 4];
                    numbers[k] = static_cast<std::int16_t>((byte >> (6 - of_line / 4 * 2) & 3) - 1);
                }
                const float scale = half_to_float(word_at(panel + g * GroupPanels::kScales + 2 * r));
                for (std::size_t t = 0; t < n; ++t) {
                    const std::int16_t* x = task.x.values + (first + t) * task.x.stride + g * shape.group;
                    std::int32_t sum = 0;
                    for (std::size_t k = 0; k < shape.group; ++k) sum += numbers[k] * x[k];
                    products[t] += scale * static_cast<float>(sum);
                }
            }
            for (std::size_t t = 0; t < n; ++t)
                task.out.data[(first + t) * task.out.stride + row] = products[t] / task.x.scales[first + t];
        }
    }
}

void panel_reference(const PanelTask& task) {
    with_block_format(task.encoding, [&]<class Format>(Format) {
        if constexpr (Format::kTernary)
            group_panel_reference<Format>(task);
        else
            panel_reference_rows<Format>(task);
    });
}

}  // namespace
}  // namespace sterna

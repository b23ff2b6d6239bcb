// Panels of group-scaled ternary weights (ternary_blocks.hpp), in which each row has a scale for every group of
// columns. As in ternary_panels.hpp, sixteen rows lie side by side; a panel is
//
//   scales   for each group, of the rows: float16 [16]; then zeros up to a whole line
//   lines    of 64 bytes, as in ternary_panels.hpp, with the codes 0 to 3 for -1, 0, +1, +2
//
// A group has the columns of a block. A product of a row and a token is the sum over groups, in the order of columns,
// of
//
//   scale * (exact integer sum of (code - 1) * activation)
//
// in float32, where each product is rounded, divided by the token's scale. Activations are int15.
#pragma once

#include "blocks.hpp"
#include "ternary_panels.hpp"

namespace sterna {
namespace {

// Panels of `columns` columns in groups of `group`.
struct GroupPanels {
    std::size_t columns, group;

    std::size_t groups() const { return columns / group; }
    std::size_t group_lines() const { return group / kLineColumns; }
    std::size_t lines_at() const {  // bytes before the lines
        return (groups() * kScales + kTernaryLine - 1) / kTernaryLine * kTernaryLine;
    }
    std::size_t bytes() const { return lines_at() + columns / kLineColumns * kTernaryLine; }

    static constexpr std::size_t kScales = 2 * kTernaryRows;  // bytes, of a group
};

// Packs at most sixteen rows. Rows that the panel lacks have zeros for scales.
template <class Format>
void pack_group_panel(const Rows& rows, std::size_t cols, std::uint8_t* out) {
    const GroupPanels shape{cols, Format::kValues};
    std::memset(out, 0, shape.bytes());
    for (std::size_t r = 0; r < rows.count; ++r) {
        const std::uint8_t* src = rows.data + r * rows.stride;
        std::uint8_t* line = out + shape.lines_at() + 4 * r;
        Block block;
        for (std::size_t g = 0; g < shape.groups(); ++g, src += Format::kBytes) {
            Format::take(src, block);
            std::memcpy(out + g * GroupPanels::kScales + 2 * r, &block.d, 2);
            for (std::size_t k = 0; k < Format::kValues; k += kLineColumns, line += kTernaryLine) {
                std::uint32_t fours[4];
                std::memcpy(fours, block.codes + k, sizeof(fours));
                const std::uint32_t word = fours[0] << 6 | fours[1] << 4 | fours[2] << 2 | fours[3];
                std::memcpy(line, &word, sizeof(word));
            }
        }
    }
}

}  // namespace
}  // namespace sterna

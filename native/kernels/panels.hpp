// Panels: block formats repacked for multiplication. A panel is sixteen rows side by side, so that each row has a lane
// of a register, sums are never folded across lanes, and the bytes of a matrix are one stream.
//
//   block of a panel   d [16] float16, m [16] float16 (if the format has offsets; these come first only where groups
//                      have integers of their own, or several units one d), then its units
//   unit, 32 columns   scales: d [16], m [16] float16, or for each of its groups int8 scales [16], mins [16]
//                      (in nibbles: scale + 16 * min [16]); then its fields of 4, 2, 1 or 8 bits: for each of them
//                      `bits` words of 32 bits for each row
//   word of b bits     8 / b fours of adjacent columns; a code of each is in each of the four bytes, the first four
//                      lowest
//
// A product of a row and a token is the sum over groups, in the order of columns, of
//
//   scale * (exact integer sum of number(code) * activation) - offset * (exact integer sum of activations)
//
// in float32, where each product and each difference is rounded, divided by the token's scale. Activations are int15.
#pragma once

#include "blocks.hpp"

namespace sterna {
namespace {

constexpr int kPanelRows = 16;
constexpr std::size_t kUnit = 32;  // columns

template <class Format>
struct Panel {
    static constexpr std::size_t kUnits = Format::kValues / kUnit;
    static constexpr std::size_t kGroups = kUnit / Format::kGroup;  // of a unit
    static constexpr std::size_t kFours = Format::kGroup / 4;       // of a group
    static constexpr std::size_t kHalfs = 2 * kPanelRows * (Format::kOffset ? 2 : 1);
    static constexpr std::size_t kHeader = Format::kNested || kUnits > 1 ? kHalfs : 0;
    static constexpr std::size_t kIntegers = kGroups * kPanelRows * (Format::kOffset && !Format::kNibbleScales ? 2 : 1);
    static constexpr std::size_t kScales = Format::kNested ? kIntegers : kHalfs - kHeader;
    static constexpr std::size_t kUnitBytes = kScales + 4 * kPanelRows * (Format::kBits + Format::kMoreBits);
    static constexpr std::size_t kBytes = kHeader + kUnits * kUnitBytes;
};

}  // namespace
}  // namespace sterna

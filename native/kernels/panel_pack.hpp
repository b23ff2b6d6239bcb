// Rows of a block format to a panel (panels.hpp). Compiled once per ISA; internal linkage.
#pragma once

#include "panels.hpp"
#include "ternary_group_panels.hpp"

namespace sterna {
namespace {

// The words of a field of B bits that begins at bit At, from the 32 codes of a unit. Words of a row are a panel apart.
template <int B, int At>
inline void pack_field(const std::uint8_t* codes, std::uint8_t* out) {
    constexpr std::uint32_t kMask = 0x01010101u * ((1u << B) - 1);
    std::uint32_t words[B == 0 ? 1 : B] = {};
    for (int i = 0; i < static_cast<int>(kUnit) / 4; ++i) {
        std::uint32_t four;
        std::memcpy(&four, codes + 4 * i, 4);
        words[i * B / 8] |= (four >> At & kMask) << (i * B % 8);
    }
    for (int w = 0; w < B; ++w) std::memcpy(out + 4 * kPanelRows * w, &words[w], 4);
}

template <class Format>
void pack_panel(const Rows& rows, std::size_t cols, std::uint8_t* out) {
    using P = Panel<Format>;
    constexpr std::size_t kHalf = 2 * kPanelRows;
    std::memset(out, 0, cols / Format::kValues * P::kBytes);  // rows that the panel lacks are zeros
    for (std::size_t r = 0; r < rows.count; ++r) {
        const std::uint8_t* src = rows.data + r * rows.stride;
        std::uint8_t* at = out;
        Block block;
        const auto put_halfs = [&](std::uint8_t* place) {
            std::memcpy(place + 2 * r, &block.d, 2);
            if (Format::kOffset) std::memcpy(place + kHalf + 2 * r, &block.m, 2);
        };
        for (std::size_t b = 0; b < cols / Format::kValues; ++b, src += Format::kBytes) {
            Format::take(src, block);
            if (P::kHeader != 0) put_halfs(at);
            at += P::kHeader;
            for (std::size_t unit = 0; unit < P::kUnits; ++unit, at += P::kUnitBytes) {
                if (Format::kNested)
                    for (std::size_t g = 0; g < P::kGroups; ++g) {
                        std::uint8_t* place = at + g * P::kScales / P::kGroups + r;
                        const std::int8_t scale = block.scales[unit * P::kGroups + g];
                        const std::int8_t min = block.mins[unit * P::kGroups + g];
                        place[0] = static_cast<std::uint8_t>(Format::kNibbleScales ? scale + 16 * min : scale);
                        if (Format::kOffset && !Format::kNibbleScales)
                            place[kPanelRows] = static_cast<std::uint8_t>(min);
                    }
                else if (P::kHeader == 0)
                    put_halfs(at);
                const std::uint8_t* codes = block.codes + unit * kUnit;
                std::uint8_t* fields = at + P::kScales + 4 * r;
                pack_field<Format::kBits, 0>(codes, fields);
                pack_field<Format::kMoreBits, Format::kBits>(codes, fields + 4 * kPanelRows * Format::kBits);
            }
        }
    }
}

std::size_t panel_bytes(Encoding encoding, std::size_t cols) {
    std::size_t bytes = 0;
    with_block_format(encoding, [&]<class F>(F) {
        if constexpr (F::kTernary)
            bytes = GroupPanels{cols, F::kValues}.bytes();
        else
            bytes = cols / F::kValues * Panel<F>::kBytes;
    });
    return bytes;
}

void pack_panels(Encoding encoding, const Rows& rows, std::size_t cols, std::uint8_t* out) {
    with_block_format(encoding, [&]<class F>(F) {
        for (std::size_t r = 0; r < rows.count; r += kPanelRows, out += panel_bytes(encoding, cols)) {
            const std::size_t count = rows.count - r < kPanelRows ? rows.count - r : kPanelRows;
            const Rows part{rows.data + r * rows.stride, rows.stride, count};
            if constexpr (F::kTernary)
                pack_group_panel<F>(part, cols, out);
            else
                pack_panel<F>(part, cols, out);
        }
    });
}

}  // namespace
}  // namespace sterna

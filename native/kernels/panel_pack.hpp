// Rows of a block format to a panel (panels.hpp). Compiled once per ISA; internal linkage.
#pragma once

#include "panels.hpp"

namespace sterna {
namespace {

// Bits [At, At + B) of eight codes: those of the even codes side by side in the low half, of the odd ones in the high
// half, in steps of B bits.
template <int B, int At>
inline std::uint32_t gather_fields(std::uint64_t eight) {
    constexpr std::uint64_t kMask = 0x0001000100010001u * ((1u << B) - 1);
    const auto together = [](std::uint64_t v) {
        return static_cast<std::uint32_t>((v | v >> (16 - B) | v >> 2 * (16 - B) | v >> 3 * (16 - B)) &
                                          ((std::uint64_t{1} << 4 * B) - 1));
    };
    const std::uint32_t even = together(eight >> At & kMask), odd = together(eight >> (8 + At) & kMask);
    return even | odd << 16;
}

// The words of a field of B bits that begins at bit At, from the 32 codes of a unit. Words of a row are a panel apart.
template <int B, int At>
inline void pack_field(const std::uint8_t* codes, std::uint8_t* out) {
    std::uint32_t words[B == 0 ? 1 : B] = {};
    for (int i = 0; i < 4; ++i) {
        std::uint64_t eight;
        std::memcpy(&eight, codes + 8 * i, 8);
        if constexpr (B == 8) {
            words[2 * i] = static_cast<std::uint32_t>((eight & 0xff) | (eight >> 16 & 0xff) << 8 |
                                                      (eight >> 8 & 0xff) << 16 | (eight >> 24 & 0xff) << 24);
            eight >>= 32;
            words[2 * i + 1] = static_cast<std::uint32_t>((eight & 0xff) | (eight >> 16 & 0xff) << 8 |
                                                          (eight >> 8 & 0xff) << 16 | (eight >> 24 & 0xff) << 24);
        } else {
            words[i * B / 4] |= gather_fields<B, At>(eight) << (4 * B * i % 16);
        }
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
    with_block_format(encoding, [&]<class F>(F) { bytes = cols / F::kValues * Panel<F>::kBytes; });
    return bytes;
}

void pack_panels(Encoding encoding, const Rows& rows, std::size_t cols, std::uint8_t* out) {
    with_block_format(encoding, [&]<class F>(F) {
        for (std::size_t r = 0; r < rows.count; r += kPanelRows, out += panel_bytes(encoding, cols)) {
            const std::size_t count = rows.count - r < kPanelRows ? rows.count - r : kPanelRows;
            pack_panel<F>({rows.data + r * rows.stride, rows.stride, count}, cols, out);
        }
    });
}

}  // namespace
}  // namespace sterna

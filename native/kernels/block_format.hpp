// What all block formats have in common. Every format is the same mathematics with other numbers: a block has groups of
// 16 or 32 values with codes, and
//
//   value = scale * number(code) - offset        scale = d or d * (integer of the group), offset likewise from m
//
// Products of a float16 number and an integer of a group have at most 19 bits, so float32 holds them exactly. Decoders
// to float32 and panels (panel_pack.hpp) are made from these types. Compiled once per ISA; internal linkage.
#pragma once

#include "kernels.hpp"
#include "lanes.hpp"

namespace sterna {
namespace {

// A block's parts. `m`, `scales` and `mins` are used by formats that have them.
struct Block {
    std::uint8_t codes[256];
    std::uint16_t d = 0, m = 0;  // float16
    std::int8_t scales[16] = {}, mins[16] = {};
};

// kGroup: values that share a scale. kBits, kMoreBits: the bits of a code, as one or two fields, the lower first.
// kBias: number(code) = code - kBias. kSigned: codes are int8 as they are. kTable: a code is a place in kTableNumbers.
// kNested: groups have integers in `scales` and `mins`, with kNibbleScales of four bits each. kOffset: values have an
// offset, m times the min of their group, or -m. kTernary: codes of two bits, and one scale for the whole block
// (ternary_blocks.hpp); such formats have panels of their own (ternary_group_panels.hpp).
template <Encoding E, int Group, int Bits, int MoreBits, int Bias>
struct BlockFormat {
    static constexpr Encoding kEncoding = E;
    static constexpr std::size_t kValues = format_of(E).values, kBytes = format_of(E).bytes;
    static constexpr int kGroup = Group, kBits = Bits, kMoreBits = MoreBits, kBias = Bias;
    static constexpr std::size_t kGroups = kValues / Group;
    static constexpr bool kNested = kValues == 256, kSigned = Bits == 8;
    static constexpr bool kOffset = false, kTable = false, kNibbleScales = false;
    static constexpr bool kTernary = false;
};

inline std::uint16_t word_at(const std::uint8_t* p) {
    std::uint16_t word;
    std::memcpy(&word, p, 2);
    return word;
}

}  // namespace
}  // namespace sterna

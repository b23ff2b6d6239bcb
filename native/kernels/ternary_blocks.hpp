// The block formats of group-scaled ternary and binary weights: what the bytes of a block mean (layouts described in
// src/sterna/ternary/group_scaled.py and tq.py). A block has one float16 scale d and a code of two bits a weight:
//
//   value = d * (code - 1)        codes 0, 1, 2 for -1, 0, +1; 0 and 2 alone in binary ones; 3, +2, only in Q2_0, PQ2_0
#pragma once

#include "block_format.hpp"
#include "trits.hpp"

namespace sterna {
namespace {

template <Encoding E>
struct TernaryFormat : BlockFormat<E, format_of(E).values, 2, 0, 1> {
    static constexpr bool kNested = false, kTernary = true;
};

// d, then fields of `Bits` bits, the first in the lowest.
template <Encoding E, unsigned Bits>
struct LowFirst : TernaryFormat<E> {
    static void take(const std::uint8_t* src, Block& block) {
        constexpr unsigned kPerByte = 8 / Bits, kStep = Bits == 1 ? 2 : 1;
        block.d = word_at(src);
        for (std::size_t j = 0; j < format_of(E).values; ++j)
            block.codes[j] = static_cast<std::uint8_t>(
                (src[2 + j / kPerByte] >> (Bits * (j % kPerByte)) & ((1u << Bits) - 1)) * kStep);
    }
};

using Q2_0 = LowFirst<Encoding::q2_0, 2>;
using PQ2_0 = LowFirst<Encoding::pq2_0, 2>;
using Q1_0 = LowFirst<Encoding::q1_0, 1>;

// 24 bytes of five digits, 2 of four, d.
struct PTQ1_0 : TernaryFormat<Encoding::ptq1_0> {
    static void take(const std::uint8_t* src, Block& block) {
        block.d = word_at(src + 26);
        take_digits<2, 4>(src + 24, take_digits<8, 5>(src + 16, take_digits<16, 5>(src, block.codes)));
    }
};

// 64 quadruples, each a nibble, 4 * (place of the 0) + b, and a sign bit; then d. Of the other three weights the first
// is +1, the second -1 if bit 0 of b is set, the third -1 if bit 1 is.
struct STQ1_0 : TernaryFormat<Encoding::stq1_0> {
    static void take(const std::uint8_t* src, Block& block) {
        block.d = word_at(src + 40);
        for (unsigned g = 0; g < 64; ++g) {
            const unsigned nibble = src[g / 2] >> (4 * (g % 2)) & 15, negate = src[32 + g / 8] >> (g % 8) & 1;
            for (unsigned place = 0, other = 0; place < 4; ++place) {
                const bool zero = place == nibble >> 2;
                const unsigned negative = other > 0 ? nibble >> (other - 1) & 1 : 0;
                block.codes[g / 16 * 64 + g % 16 + 16 * place] =
                    static_cast<std::uint8_t>(zero ? 1 : 2 - 2 * (negative ^ negate));
                other += !zero;
            }
        }
    }
};

}  // namespace
}  // namespace sterna

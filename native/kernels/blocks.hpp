// The block formats: what the bytes of a block mean, one type each (layouts of ggml's block_q4_0, ..., block_q6_K and
// block_iq4_nl; described field by field in src/sterna/ternary/kquants.py and blocks.py).
//
// Decoders to float32 and panels (panel_pack.hpp) are made from these types, and from those of ternary_blocks.hpp.
// Compiled once per ISA; internal linkage.
#pragma once

#include "ternary_blocks.hpp"

namespace sterna {
namespace {

// The codes of 32 values from 16 bytes: first the low nibbles, then the high ones.
inline void take_nibbles(const std::uint8_t* __restrict nibbles, std::uint8_t* __restrict codes) {
    for (int i = 0; i < 16; ++i) codes[i] = nibbles[i] & 15;
    for (int i = 0; i < 16; ++i) codes[i + 16] = nibbles[i] >> 4;
}

// Adds the fifth bit of each of 32 codes; the bits are those of a 32-bit number.
inline void take_fifths(const std::uint8_t* fifths, std::uint8_t* codes) {
    std::uint32_t bits;
    std::memcpy(&bits, fifths, 4);
    for (int i = 0; i < 32; ++i) codes[i] = static_cast<std::uint8_t>(codes[i] | (bits >> i & 1u) << 4);
}

struct Q4_0 : BlockFormat<Encoding::q4_0, 32, 4, 0, 8> {
    static void take(const std::uint8_t* src, Block& block) {
        block.d = word_at(src);
        take_nibbles(src + 2, block.codes);
    }
};

struct Q4_1 : BlockFormat<Encoding::q4_1, 32, 4, 0, 0> {
    static constexpr bool kOffset = true;
    static void take(const std::uint8_t* src, Block& block) {
        block.d = word_at(src);
        block.m = word_at(src + 2);
        take_nibbles(src + 4, block.codes);
    }
};

struct Q5_0 : BlockFormat<Encoding::q5_0, 32, 4, 1, 16> {
    static void take(const std::uint8_t* src, Block& block) {
        block.d = word_at(src);
        take_nibbles(src + 6, block.codes);
        take_fifths(src + 2, block.codes);
    }
};

struct Q5_1 : BlockFormat<Encoding::q5_1, 32, 4, 1, 0> {
    static constexpr bool kOffset = true;
    static void take(const std::uint8_t* src, Block& block) {
        block.d = word_at(src);
        block.m = word_at(src + 2);
        take_nibbles(src + 8, block.codes);
        take_fifths(src + 4, block.codes);
    }
};

struct Q8_0 : BlockFormat<Encoding::q8_0, 32, 8, 0, 0> {
    static void take(const std::uint8_t* src, Block& block) {
        block.d = word_at(src);
        std::memcpy(block.codes, src + 2, 32);
    }
};

// Codes stand for numbers that lie closer together near 0.
struct IQ4_NL : BlockFormat<Encoding::iq4_nl, 32, 4, 0, 0> {
    static constexpr bool kTable = true;
    static void take(const std::uint8_t* src, Block& block) {
        block.d = word_at(src);
        take_nibbles(src + 2, block.codes);
    }
};

alignas(16) constexpr std::int8_t kTableNumbers[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                                       1,    13,   25,  38,  53,  69,  89,  113};

// 16 scale bytes (scale in the low nibble, min in the high one), 64 bytes of bit pairs, d, dmin.
struct Q2_K : BlockFormat<Encoding::q2_k, 16, 2, 0, 0> {
    static constexpr bool kOffset = true, kNibbleScales = true;
    static void take(const std::uint8_t* src, Block& block) {
        block.d = word_at(src + 80);
        block.m = word_at(src + 82);
        for (int g = 0; g < 16; ++g) {
            block.scales[g] = src[g] & 15;
            block.mins[g] = static_cast<std::int8_t>(src[g] >> 4);
        }
        for (int q = 0; q < 8; ++q)  // 32 values
            for (int i = 0; i < 32; ++i) block.codes[32 * q + i] = (src[16 + 32 * (q / 4) + i] >> (2 * (q % 4))) & 3;
    }
};

// 32 bytes of third bits, 64 of bit pairs, 12 of scales (six bits, minus 32), d.
struct Q3_K : BlockFormat<Encoding::q3_k, 16, 2, 1, 4> {
    static void take(const std::uint8_t* src, Block& block) {
        const std::uint8_t* scales = src + 96;
        block.d = word_at(src + 108);
        for (int g = 0; g < 16; ++g) {
            const int low = (scales[g % 8] >> (4 * (g / 8))) & 15, high = (scales[8 + g % 4] >> (2 * (g / 4))) & 3;
            block.scales[g] = static_cast<std::int8_t>((low | high << 4) - 32);
        }
        for (int q = 0; q < 8; ++q)
            for (int i = 0; i < 32; ++i) {
                const int pair = (src[32 + 32 * (q / 4) + i] >> (2 * (q % 4))) & 3;
                block.codes[32 * q + i] = static_cast<std::uint8_t>(pair | ((src[i] >> q) & 1) << 2);
            }
    }
};

// The six-bit scales and mins of eight groups from 12 bytes.
inline void take_six_bits(const std::uint8_t* packed, Block& block) {
    for (int g = 0; g < 4; ++g) {
        block.scales[g] = packed[g] & 63;
        block.mins[g] = packed[g + 4] & 63;
        block.scales[g + 4] = static_cast<std::int8_t>((packed[g + 8] & 15) | (packed[g] >> 6) << 4);
        block.mins[g + 4] = static_cast<std::int8_t>((packed[g + 8] >> 4) | (packed[g + 4] >> 6) << 4);
    }
}

// The codes of 256 values from 128 bytes: 32 low nibbles, then the 32 high ones of the same bytes.
inline void take_all_nibbles(const std::uint8_t* __restrict nibbles, std::uint8_t* __restrict codes) {
    for (int pair = 0; pair < 4; ++pair, nibbles += 32, codes += 64) {
        for (int i = 0; i < 32; ++i) codes[i] = nibbles[i] & 15;
        for (int i = 0; i < 32; ++i) codes[32 + i] = nibbles[i] >> 4;
    }
}

// d, dmin, 12 bytes of scales and mins, 128 of nibbles.
struct Q4_K : BlockFormat<Encoding::q4_k, 32, 4, 0, 0> {
    static constexpr bool kOffset = true;
    static void take(const std::uint8_t* src, Block& block) {
        block.d = word_at(src);
        block.m = word_at(src + 2);
        take_six_bits(src + 4, block);
        take_all_nibbles(src + 16, block.codes);
    }
};

// d, dmin, 12 bytes of scales and mins, 32 of fifth bits (bit g for group g), 128 of nibbles.
struct Q5_K : BlockFormat<Encoding::q5_k, 32, 4, 1, 0> {
    static constexpr bool kOffset = true;
    static void take(const std::uint8_t* src, Block& block) {
        block.d = word_at(src);
        block.m = word_at(src + 2);
        take_six_bits(src + 4, block);
        take_all_nibbles(src + 48, block.codes);
        for (int g = 0; g < 8; ++g)
            for (int i = 0; i < 32; ++i)
                block.codes[32 * g + i] =
                    static_cast<std::uint8_t>(block.codes[32 * g + i] | ((src[16 + i] >> g) & 1) << 4);
    }
};

// 128 bytes of low nibbles, 64 of high bit pairs, 16 int8 scales, d. In each half of 128 values, value 32 q + i takes
// its low bits from byte i + 32 * (q % 2), nibble q / 2, and its high bits from byte i at bit 2 q.
struct Q6_K : BlockFormat<Encoding::q6_k, 16, 4, 2, 32> {
    static void take(const std::uint8_t* src, Block& block) {
        block.d = word_at(src + 208);
        std::memcpy(block.scales, src + 192, 16);
        for (int half = 0; half < 2; ++half)
            for (int q = 0; q < 4; ++q)
                for (int i = 0; i < 32; ++i) {
                    const int nibble = (src[64 * half + 32 * (q % 2) + i] >> (4 * (q / 2))) & 15;
                    const int pair = (src[128 + 32 * half + i] >> (2 * q)) & 3;
                    block.codes[128 * half + 32 * q + i] = static_cast<std::uint8_t>(nibble | pair << 4);
                }
    }
};

template <class Format>
inline int number(std::uint8_t code) {
    if constexpr (Format::kTable) return kTableNumbers[code];
    if constexpr (Format::kSigned) return static_cast<std::int8_t>(code);
    return code - Format::kBias;
}

template <class Format>
inline float group_scale(const Block& block, std::size_t g) {
    const float d = half_to_float(block.d);
    return Format::kNested ? d * static_cast<float>(block.scales[g]) : d;
}

template <class Format>
inline float group_offset(const Block& block, std::size_t g) {
    const float m = half_to_float(block.m);
    return Format::kNested ? m * static_cast<float>(block.mins[g]) : -m;
}

template <class Format>
void decode_blocks(const std::uint8_t* __restrict src, std::size_t n, float* __restrict out) {
    Block block;
    for (std::size_t i = 0; i < n / Format::kValues; ++i, src += Format::kBytes) {
        Format::take(src, block);
        for (std::size_t g = 0; g < Format::kGroups; ++g, out += Format::kGroup) {
            const float scale = group_scale<Format>(block, g);
            const float offset = Format::kOffset ? group_offset<Format>(block, g) : 0.0f;
            for (int k = 0; k < Format::kGroup; ++k) {
                const auto value = static_cast<float>(number<Format>(block.codes[g * Format::kGroup + k]));
                out[k] = Format::kOffset ? scale * value - offset : scale * value;
            }
        }
    }
}

template <class... Format>
struct BlockFormats {
    // Whether these are exactly the rows of formats.hpp with int15 activations.
    static constexpr bool complete() {
        std::size_t rows = 0;
        for (const auto& format : kFormats) rows += format.activations == Quantizer::int15;
        return rows == sizeof...(Format) && (... && (format_of(Format::kEncoding).activations == Quantizer::int15));
    }
    static_assert(complete());

    template <class Call>
    static bool call(Encoding encoding, const Call& call) {
        return (... || (encoding == Format::kEncoding && (call(Format{}), true)));
    }
};

// Calls call(Format{}) for the type of an encoding; false if it is not made of blocks.
template <class Call>
inline bool with_block_format(Encoding encoding, const Call& call) {
    return BlockFormats<Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2_K, Q3_K, Q4_K, Q5_K, Q6_K, IQ4_NL, Q2_0, PQ2_0, PTQ1_0, Q1_0,
                        STQ1_0>::call(encoding, call);
}

}  // namespace
}  // namespace sterna

// Decoders of Q4_1 to Q5_K and IQ4_NL to float32 (layouts of ggml's block_q4_1, ..., block_q5_K; described field by
// field in src/sterna/ternary/kquants.py). Compiled once per ISA; internal linkage.
#pragma once

#include "kernels.hpp"
#include "lanes.hpp"

namespace sterna {
namespace {

inline float stored_half(const std::uint8_t* p) {
    std::uint16_t h;
    std::memcpy(&h, p, 2);
    return half_to_float(h);
}

// The codes of 32 values from 16 bytes: first the low nibbles, then the high ones.
inline void take_nibbles(const std::uint8_t* __restrict nibbles, std::int32_t* __restrict q) {
    for (int i = 0; i < 16; ++i) q[i] = nibbles[i] & 15;
    for (int i = 0; i < 16; ++i) q[i + 16] = nibbles[i] >> 4;
}

// Adds the fifth bit of each of 32 codes; the bits are those of a 32-bit number.
inline void take_fifths(const std::uint8_t* fifths, std::int32_t* q) {
    std::uint32_t bits;
    std::memcpy(&bits, fifths, 4);
    for (int i = 0; i < 32; ++i) q[i] |= static_cast<std::int32_t>((bits >> i & 1u) << 4);
}

void decode_q4_1(const std::uint8_t* __restrict src, std::size_t n, float* __restrict out) {
    for (std::size_t block = 0; block < n / 32; ++block, src += 20, out += 32) {
        std::int32_t q[32];
        take_nibbles(src + 4, q);
        const float d = stored_half(src), m = stored_half(src + 2);
        for (int i = 0; i < 32; ++i) out[i] = d * static_cast<float>(q[i]) + m;
    }
}

void decode_q5_0(const std::uint8_t* __restrict src, std::size_t n, float* __restrict out) {
    for (std::size_t block = 0; block < n / 32; ++block, src += 22, out += 32) {
        std::int32_t q[32];
        take_nibbles(src + 6, q);
        take_fifths(src + 2, q);
        const float d = stored_half(src);
        for (int i = 0; i < 32; ++i) out[i] = d * static_cast<float>(q[i] - 16);
    }
}

void decode_q5_1(const std::uint8_t* __restrict src, std::size_t n, float* __restrict out) {
    for (std::size_t block = 0; block < n / 32; ++block, src += 24, out += 32) {
        std::int32_t q[32];
        take_nibbles(src + 8, q);
        take_fifths(src + 4, q);
        const float d = stored_half(src), m = stored_half(src + 2);
        for (int i = 0; i < 32; ++i) out[i] = d * static_cast<float>(q[i]) + m;
    }
}

// d and 16 bytes of nibbles, whose codes stand for values that lie closer together near 0.
void decode_iq4_nl(const std::uint8_t* __restrict src, std::size_t n, float* __restrict out) {
    constexpr std::int8_t kValues[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};
    for (std::size_t block = 0; block < n / 32; ++block, src += 18, out += 32) {
        std::int32_t q[32];
        take_nibbles(src + 2, q);
        const float d = stored_half(src);
        for (int i = 0; i < 32; ++i) out[i] = d * static_cast<float>(kValues[q[i]]);
    }
}

// 16 scale bytes (scale in the low nibble, min in the high one), 64 bytes of bit pairs, d, dmin.
void decode_q2_k(const std::uint8_t* __restrict src, std::size_t n, float* __restrict out) {
    for (std::size_t block = 0; block < n / 256; ++block, src += 84) {
        const float d = stored_half(src + 80), dmin = stored_half(src + 82);
        for (int group = 0; group < 16; ++group, out += 16) {
            const float scale = d * static_cast<float>(src[group] & 15),
                        min = dmin * static_cast<float>(src[group] >> 4);
            const std::uint8_t* pairs = src + 16 + 32 * (group / 8) + 16 * (group % 2);
            const int shift = 2 * (group % 8 / 2);
            for (int i = 0; i < 16; ++i) out[i] = scale * static_cast<float>((pairs[i] >> shift) & 3) - min;
        }
    }
}

// 32 bytes of third bits, 64 of bit pairs, 12 of scales (six bits, minus 32), d.
void decode_q3_k(const std::uint8_t* __restrict src, std::size_t n, float* __restrict out) {
    for (std::size_t block = 0; block < n / 256; ++block, src += 110) {
        const std::uint8_t* scales = src + 96;
        const float d = stored_half(src + 108);
        for (int group = 0; group < 16; ++group, out += 16) {
            const int low = (scales[group % 8] >> (4 * (group / 8))) & 15;
            const int high = (scales[8 + group % 4] >> (2 * (group / 4))) & 3;
            const float scale = d * static_cast<float>((low | high << 4) - 32);
            const std::uint8_t* thirds = src + 16 * (group % 2);
            const std::uint8_t* pairs = src + 32 + 32 * (group / 8) + 16 * (group % 2);
            const int shift = 2 * (group % 8 / 2), bit = group / 2;
            for (int i = 0; i < 16; ++i) {
                const int q = ((pairs[i] >> shift) & 3) | ((thirds[i] >> bit) & 1) << 2;
                out[i] = scale * static_cast<float>(q - 4);
            }
        }
    }
}

// The scale and the min of group `g` of eight, six bits each, from 12 bytes.
inline void six_bits(const std::uint8_t* packed, int g, int& scale, int& min) {
    if (g < 4) {
        scale = packed[g] & 63;
        min = packed[g + 4] & 63;
    } else {
        scale = (packed[g + 4] & 15) | (packed[g - 4] >> 6) << 4;
        min = (packed[g + 4] >> 4) | (packed[g] >> 6) << 4;
    }
}

// d, dmin, 12 bytes of scales and mins, `fifths` (32 bytes, bit g for group g; null for none), 128 bytes of nibbles.
inline void decode_groups(const std::uint8_t* src, const std::uint8_t* fifths, const std::uint8_t* nibbles,
                          float* out) {
    const float d = stored_half(src), dmin = stored_half(src + 2);
    for (int g = 0; g < 8; ++g, out += 32) {
        int scale = 0, min = 0;
        six_bits(src + 4, g, scale, min);
        const float step = d * static_cast<float>(scale), offset = dmin * static_cast<float>(min);
        const std::uint8_t* q = nibbles + 32 * (g / 2);
        const int shift = 4 * (g % 2);
        if (fifths == nullptr)
            for (int i = 0; i < 32; ++i) out[i] = step * static_cast<float>((q[i] >> shift) & 15) - offset;
        else
            for (int i = 0; i < 32; ++i)
                out[i] = step * static_cast<float>(((q[i] >> shift) & 15) | ((fifths[i] >> g) & 1) << 4) - offset;
    }
}

void decode_q4_k(const std::uint8_t* __restrict src, std::size_t n, float* __restrict out) {
    for (std::size_t block = 0; block < n / 256; ++block, src += 144, out += 256)
        decode_groups(src, nullptr, src + 16, out);
}

void decode_q5_k(const std::uint8_t* __restrict src, std::size_t n, float* __restrict out) {
    for (std::size_t block = 0; block < n / 256; ++block, src += 176, out += 256)
        decode_groups(src, src + 16, src + 48, out);
}

}  // namespace
}  // namespace sterna

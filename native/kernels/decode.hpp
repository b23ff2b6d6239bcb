// Decoders of stored values to float32. Block layouts are GGUF's (blocks.hpp); I2_S is that of bitnet.cpp with x86
// interleaving. Compiled once per ISA; internal linkage.
#pragma once

#include "blocks.hpp"
#include "kernels.hpp"
#include "lanes.hpp"

namespace sterna {
namespace {

void decode_f32(const std::uint8_t* __restrict src, std::size_t n, float* __restrict out) {
    std::memcpy(out, src, n * 4);
}

void decode_f16(const std::uint8_t* __restrict src, std::size_t n, float* __restrict out) {
    const auto* halfs = reinterpret_cast<const std::uint16_t*>(src);
    std::size_t k = 0;
    for (; k + kLanes <= n; k += kLanes) store(out + k, load_half(halfs + k));
    for (; k < n; ++k) out[k] = half_to_float(halfs[k]);
}

void decode_bf16(const std::uint8_t* __restrict src, std::size_t n, float* __restrict out) {
    for (std::size_t k = 0; k < n; ++k) {
        std::uint16_t h;
        std::memcpy(&h, src + 2 * k, 2);
        const std::uint32_t bits = static_cast<std::uint32_t>(h) << 16;
        std::memcpy(out + k, &bits, 4);
    }
}

// 128 codes in 32 bytes: byte b holds codes b, b + 32, b + 64 and b + 96, from the high bits down.
void decode_i2_s(const std::uint8_t* __restrict src, std::size_t n, float* __restrict out) {
    for (std::size_t block = 0; block < n / 128; ++block, src += 32, out += 128)
        for (int q = 0; q < 4; ++q)
            for (int b = 0; b < 32; ++b) out[32 * q + b] = static_cast<float>(((src[b] >> (6 - 2 * q)) & 3) - 1);
}

// Blocks of a group: scale, zero point, and the codes of two adjacent values in a byte.
void decode_int4(const std::uint8_t* __restrict src, std::size_t n, std::size_t group, float* __restrict out) {
    for (std::size_t block = 0; block < n / group; ++block, src += 4 + group / 2, out += group) {
        const float d = half_to_float(word_at(src)), z = half_to_float(word_at(src + 2));
        for (std::size_t i = 0; i < group / 2; ++i) {
            out[2 * i] = d * (static_cast<float>(src[4 + i] & 15) - z);
            out[2 * i + 1] = d * (static_cast<float>(src[4 + i] >> 4) - z);
        }
    }
}

void decode(Encoding encoding, const std::uint8_t* __restrict src, std::size_t n, float* __restrict out) {
    if (encoding == Encoding::f32) return decode_f32(src, n, out);
    if (encoding == Encoding::f16) return decode_f16(src, n, out);
    if (encoding == Encoding::bf16) return decode_bf16(src, n, out);
    if (encoding == Encoding::i2_s) return decode_i2_s(src, n, out);
    if (is_int4(encoding)) return decode_int4(src, n, format_of(encoding).values, out);
    with_block_format(encoding, [&]<class Format>(Format) { decode_blocks<Format>(src, n, out); });
}

}  // namespace
}  // namespace sterna

// Decoders of stored values to float32, one function per encoding. Block layouts are GGUF's: ggml's block_q4_0,
// block_q8_0 and block_q6_K, I2_S of bitnet.cpp with x86 interleaving, and those of decode_blocks.hpp. Compiled once
// per ISA; internal linkage.
#pragma once

#include "decode_blocks.hpp"
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

// 32 values in 18 bytes: float16 d, then 16 bytes. Byte i holds code i in its low nibble and code i + 16 in its high
// one; a code stands for code - 8.
void decode_q4_0(const std::uint8_t* src, std::size_t n, float* out) {
    for (std::size_t block = 0; block < n / 32; ++block, src += 18, out += 32) {
        std::uint16_t h;
        std::memcpy(&h, src, 2);
        const float d = half_to_float(h);
        for (int i = 0; i < 16; ++i) {
            out[i] = d * static_cast<float>((src[2 + i] & 15) - 8);
            out[i + 16] = d * static_cast<float>((src[2 + i] >> 4) - 8);
        }
    }
}

// 32 values in 34 bytes: float16 d, then int8 codes.
void decode_q8_0(const std::uint8_t* __restrict src, std::size_t n, float* __restrict out) {
    for (std::size_t block = 0; block < n / 32; ++block, src += 34, out += 32) {
        const float d = stored_half(src);
        const auto* codes = reinterpret_cast<const std::int8_t*>(src + 2);
        for (int i = 0; i < 32; ++i) out[i] = d * static_cast<float>(codes[i]);
    }
}

// 256 values in 210 bytes: 128 bytes of low nibbles, 64 bytes of high bit pairs, 16 int8 scales, float16 d.
// Each half of 128 values: value i + 32 * q (q = 0..3) takes its low bits from byte i + 32 * (q & 1), nibble q / 2, and
// its high bits from byte i at bit 2 * q.
void decode_q6_k(const std::uint8_t* __restrict src, std::size_t n, float* __restrict out) {
    for (std::size_t block = 0; block < n / 256; ++block, src += 210) {
        const auto* scales = reinterpret_cast<const std::int8_t*>(src + 192);
        const float d = stored_half(src + 208);
        for (int half = 0; half < 2; ++half, out += 128) {
            const std::uint8_t* low = src + 64 * half;
            const std::uint8_t* high = src + 128 + 32 * half;
            for (int q = 0; q < 4; ++q)
                for (int i = 0; i < 32; ++i) {
                    const int nibble = (low[i + 32 * (q & 1)] >> (4 * (q / 2))) & 15;
                    const int code = nibble | (((high[i] >> (2 * q)) & 3) << 4);
                    const float scale = d * static_cast<float>(scales[8 * half + 2 * q + i / 16]);
                    out[32 * q + i] = scale * static_cast<float>(code - 32);
                }
        }
    }
}

// 128 codes in 32 bytes: byte b holds codes b, b + 32, b + 64 and b + 96, from the high bits down.
void decode_i2_s(const std::uint8_t* __restrict src, std::size_t n, float* __restrict out) {
    for (std::size_t block = 0; block < n / 128; ++block, src += 32, out += 128)
        for (int q = 0; q < 4; ++q)
            for (int b = 0; b < 32; ++b) out[32 * q + b] = static_cast<float>(((src[b] >> (6 - 2 * q)) & 3) - 1);
}

#define STERNA_DECODER(name, values, bytes, activations, encode) decode_##name,
void decode(Encoding encoding, const std::uint8_t* __restrict src, std::size_t n, float* __restrict out) {
    constexpr void (*kDecoders[])(const std::uint8_t*, std::size_t, float*) = {STERNA_ENCODINGS(STERNA_DECODER)};
    kDecoders[static_cast<std::size_t>(encoding)](src, n, out);
}
#undef STERNA_DECODER

}  // namespace
}  // namespace sterna

// Block sums of Q4_0, Q8_0 and Q6_K (int15_dot.hpp) with NEON's dot product extension.
#pragma once

#include <arm_neon.h>

#include "int15_dot.hpp"

namespace sterna {
namespace {

struct Int15Neon {
    struct Sums {
        float32x4_t half[2];
    };
    static Sums zero() { return {{vdupq_n_f32(0.0f), vdupq_n_f32(0.0f)}}; }
    static float total(const Sums& even, const Sums& odd) {
        float lanes[kInt15Lanes];
        for (int half = 0; half < 2; ++half) vst1q_f32(lanes + 4 * half, vaddq_f32(even.half[half], odd.half[half]));
        return fold(lanes);
    }

    static void scale(float32x4_t& sums, int32x4_t high, int32x4_t low, float d) {
        const float32x4_t value = vaddq_f32(vmulq_n_f32(vcvtq_f32_s32(high), 128.0f), vcvtq_f32_s32(low));
        sums = vaddq_f32(sums, vmulq_n_f32(value, d));
    }

    template <std::size_t T, class Format>
    static void add(Sums* sums, Format format, const std::uint8_t* block, float d, const Int15Columns& x) {
        for (std::size_t t = 0; t < T; ++t) add_one(sums[t], format, block, d, x.token(t));
    }

    // Adds the products of 32 signed codes, given in two registers.
    static void add_codes(Sums& sums, const int8x16_t (&codes)[2], float d, const Int15Columns& x) {
        const int32x4_t none = vdupq_n_s32(0);
        for (int half = 0; half < 2; ++half)
            scale(sums.half[half], vdotq_s32(none, codes[half], vld1q_s8(x.high + 16 * half)),
                  vdotq_s32(none, codes[half], vld1q_s8(x.low + 16 * half)), d);
    }

    static void add_one(Sums& sums, Q4_0, const std::uint8_t* block, float d, const Int15Columns& x) {
        const uint8x16_t packed = vld1q_u8(block + 2);
        const int8x16_t eight = vdupq_n_s8(8);
        const int8x16_t low_nibbles = vreinterpretq_s8_u8(vandq_u8(packed, vdupq_n_u8(15)));
        const int8x16_t high_nibbles = vreinterpretq_s8_u8(vshrq_n_u8(packed, 4));
        add_codes(sums, {vsubq_s8(low_nibbles, eight), vsubq_s8(high_nibbles, eight)}, d, x);
    }

    static void add_one(Sums& sums, Q8_0, const std::uint8_t* block, float d, const Int15Columns& x) {
        const auto* codes = reinterpret_cast<const std::int8_t*>(block + 2);
        add_codes(sums, {vld1q_s8(codes), vld1q_s8(codes + 16)}, d, x);
    }

    static void add_one(Sums& sums, Q6_K, const std::uint8_t* block, float d, const Int15Columns& x) {
        const auto* scales = reinterpret_cast<const std::int8_t*>(block + 192);
        std::int32_t high_offsets[kInt15Lanes] = {}, low_offsets[kInt15Lanes] = {};
        for (int g = 0; g < 16; ++g) {
            high_offsets[g / 2] -= 32 * scales[g] * x.high_sums[g];
            low_offsets[g / 2] -= 32 * scales[g] * x.low_sums[g];
        }
        const uint8x16_t nibble = vdupq_n_u8(15), pair = vdupq_n_u8(0x30);
        const int32x4_t none = vdupq_n_s32(0);
        for (int part = 0; part < 2; ++part) {  // 16 columns of every 32: lanes 4 * part .. 4 * part + 3
            int32x4_t high_sums = vld1q_s32(high_offsets + 4 * part), low_sums = vld1q_s32(low_offsets + 4 * part);
            for (int half = 0; half < 2; ++half) {
                const uint8x16_t a = vld1q_u8(block + 64 * half + 16 * part);
                const uint8x16_t b = vld1q_u8(block + 64 * half + 32 + 16 * part);
                const uint8x16_t h = vld1q_u8(block + 128 + 32 * half + 16 * part);
                const uint8x16_t codes[4] = {
                    vorrq_u8(vandq_u8(a, nibble), vandq_u8(vshlq_n_u8(h, 4), pair)),
                    vorrq_u8(vandq_u8(b, nibble), vandq_u8(vshlq_n_u8(h, 2), pair)),
                    vorrq_u8(vshrq_n_u8(a, 4), vandq_u8(h, pair)),
                    vorrq_u8(vshrq_n_u8(b, 4), vandq_u8(vshrq_n_u8(h, 2), pair)),
                };
                for (int q = 0; q < 4; ++q) {
                    const int k = 128 * half + 32 * q + 16 * part;
                    const int8x16_t w = vreinterpretq_s8_u8(codes[q]);
                    const std::int32_t sub_scale = scales[k / 16];
                    high_sums = vmlaq_n_s32(high_sums, vdotq_s32(none, w, vld1q_s8(x.high + k)), sub_scale);
                    low_sums = vmlaq_n_s32(low_sums, vdotq_s32(none, w, vld1q_s8(x.low + k)), sub_scale);
                }
            }
            scale(sums.half[part], high_sums, low_sums, d);
        }
    }
};

}  // namespace
}  // namespace sterna

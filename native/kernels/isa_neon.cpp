// NEON with the dot product extension: eight sdot per 32 bytes of I2_S codes.
#include <arm_neon.h>

#include "isa_table.hpp"

namespace sterna {
namespace {

template <int T>
void row(const std::uint8_t* w, const std::int8_t* x, std::size_t x_stride, const std::int32_t* x_sum, std::size_t cols,
         std::int32_t* dots, std::size_t dots_stride) {
    const uint8x16_t mask = vdupq_n_u8(3);
    int32x4_t acc[T];
    for (int t = 0; t < T; ++t) acc[t] = vdupq_n_s32(0);
    for (std::size_t k = 0; k < cols; k += 128, w += 32)
        for (std::size_t part = 0; part < 32; part += 16) {
            const uint8x16_t packed = vld1q_u8(w + part);
            const int8x16_t codes[4] = {
                vreinterpretq_s8_u8(vshrq_n_u8(packed, 6)),
                vreinterpretq_s8_u8(vandq_u8(vshrq_n_u8(packed, 4), mask)),
                vreinterpretq_s8_u8(vandq_u8(vshrq_n_u8(packed, 2), mask)),
                vreinterpretq_s8_u8(vandq_u8(packed, mask)),
            };
            for (int t = 0; t < T; ++t)
                for (std::size_t q = 0; q < 4; ++q) {
                    const std::int8_t* a = x + static_cast<std::size_t>(t) * x_stride + k + part + 32 * q;
                    acc[t] = vdotq_s32(acc[t], codes[q], vld1q_s8(a));
                }
        }
    for (int t = 0; t < T; ++t) dots[static_cast<std::size_t>(t) * dots_stride] = vaddvq_s32(acc[t]) - x_sum[t];
}

void ternary_dot(const std::uint8_t* rows, std::size_t row_bytes, std::size_t n_rows, const std::int8_t* x,
                 std::size_t x_stride, const std::int32_t* x_sum, std::size_t n_tokens, std::size_t cols,
                 std::int32_t* dots, std::size_t dots_stride) {
    for (std::size_t r = 0; r < n_rows; ++r) {
        const std::uint8_t* w = rows + r * row_bytes;
        std::size_t t = 0;
        for (; t + 4 <= n_tokens; t += 4)
            row<4>(w, x + t * x_stride, x_stride, x_sum + t, cols, dots + t * dots_stride + r, dots_stride);
        for (; t < n_tokens; ++t)
            row<1>(w, x + t * x_stride, x_stride, x_sum + t, cols, dots + t * dots_stride + r, dots_stride);
    }
}

WideSums neon_sums_q8_0(const std::int8_t* codes, const std::int8_t* high, const std::int8_t* low) {
    WideSums sums;
    const int32x4_t zero = vdupq_n_s32(0);
    for (int half = 0; half < 2; ++half) {
        const int8x16_t w = vld1q_s8(codes + 16 * half);
        vst1q_s32(sums.high + 4 * half, vdotq_s32(zero, w, vld1q_s8(high + 16 * half)));
        vst1q_s32(sums.low + 4 * half, vdotq_s32(zero, w, vld1q_s8(low + 16 * half)));
    }
    return sums;
}

WideSums neon_sums_q6_k(const std::uint8_t* block, const std::int8_t* high, const std::int8_t* low,
                        const std::int16_t* high_sums, const std::int16_t* low_sums) {
    const auto* scales = reinterpret_cast<const std::int8_t*>(block + 192);
    const int32x4_t zero = vdupq_n_s32(0);
    int32x4_t high_acc[2] = {zero, zero}, low_acc[2] = {zero, zero};
    for (int half = 0; half < 2; ++half)
        for (int part = 0; part < 2; ++part) {  // 16 columns of each of the four vectors of 32
            const uint8x16_t a = vld1q_u8(block + 64 * half + 16 * part);
            const uint8x16_t b = vld1q_u8(block + 64 * half + 32 + 16 * part);
            const uint8x16_t h = vld1q_u8(block + 128 + 32 * half + 16 * part);
            const uint8x16_t nibble = vdupq_n_u8(15), pair = vdupq_n_u8(0x30);
            const uint8x16_t codes[4] = {
                vorrq_u8(vandq_u8(a, nibble), vandq_u8(vshlq_n_u8(h, 4), pair)),
                vorrq_u8(vandq_u8(b, nibble), vandq_u8(vshlq_n_u8(h, 2), pair)),
                vorrq_u8(vshrq_n_u8(a, 4), vandq_u8(h, pair)),
                vorrq_u8(vshrq_n_u8(b, 4), vandq_u8(vshrq_n_u8(h, 2), pair)),
            };
            for (int q = 0; q < 4; ++q) {
                const int k = 128 * half + 32 * q + 16 * part;
                const int8x16_t w = vreinterpretq_s8_u8(codes[q]);
                const std::int32_t scale = scales[k / 16];
                high_acc[part] = vmlaq_n_s32(high_acc[part], vdotq_s32(zero, w, vld1q_s8(high + k)), scale);
                low_acc[part] = vmlaq_n_s32(low_acc[part], vdotq_s32(zero, w, vld1q_s8(low + k)), scale);
            }
        }
    WideSums sums;
    for (int part = 0; part < 2; ++part) {
        vst1q_s32(sums.high + 4 * part, high_acc[part]);
        vst1q_s32(sums.low + 4 * part, low_acc[part]);
    }
    for (int g = 0; g < 16; ++g) {
        sums.high[g / 2] -= 32 * scales[g] * high_sums[g];
        sums.low[g / 2] -= 32 * scales[g] * low_sums[g];
    }
    return sums;
}

std::uint64_t multiply_add(std::size_t rounds) {
    int32x4_t sums[8];
    int8x16_t codes = vdupq_n_s8(1);
    const int8x16_t x = vdupq_n_s8(3);
    for (int32x4_t& sum : sums) sum = vdupq_n_s32(0);
    for (std::size_t round = 0; round < rounds; ++round)
        for (int32x4_t& sum : sums) {
            opaque(codes);
            sum = vdotq_s32(sum, codes, x);
        }
    for (auto& sum : sums) opaque(sum);
    return rounds * 8 * 16;
}

}  // namespace

extern const Kernels kNeonKernels =
    make_table("neon", ternary_dot, wide_dot<neon_sums_q8_0, neon_sums_q6_k>, multiply_add);

}  // namespace sterna

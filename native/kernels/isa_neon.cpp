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

extern const Kernels kNeonKernels = make_table("neon", ternary_dot, multiply_add);

}  // namespace sterna

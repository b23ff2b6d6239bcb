// Dot products of ternary panels (ternary_panel_dot.hpp) with sdot, which multiplies four columns of four rows with
// four activations of a lane: a line's sixteen activations are one register.
#pragma once

#include <arm_neon.h>

#include "ternary_panel_dot.hpp"

namespace sterna {
namespace {

struct PanelNeon {
    static constexpr std::size_t kTokens = 4;
    static constexpr bool kFullGroups = false;
    template <std::size_t T>
    static constexpr std::size_t kPanels = 1;

    template <std::size_t T, std::size_t P>
    static void multiply(const std::uint8_t* line, std::size_t lines, const std::int8_t* x, std::size_t x_stride,
                         std::size_t ahead, std::int32_t (&out)[P][T][kTernaryRows]) {
        static_assert(P == 1);
        constexpr std::size_t kVecs = kTernaryLine / 16;
        const uint8x16_t mask = vdupq_n_u8(3);
        int32x4_t sums[T][kVecs];
        for (auto& of_token : sums)
            for (auto& sum : of_token) sum = vdupq_n_s32(0);
        for (const std::uint8_t* end = line + lines * kTernaryLine; line != end; line += kTernaryLine, x += 16) {
            __builtin_prefetch(line + ahead, 0, 2);
            __builtin_prefetch(line + ahead / 8);
            int8x16_t of_token[T];
            for (std::size_t t = 0; t < T; ++t) of_token[t] = vld1q_s8(x + t * x_stride);
            for (std::size_t v = 0; v < kVecs; ++v) {
                const uint8x16_t packed = vld1q_u8(line + 16 * v);
                const int8x16_t first = vreinterpretq_s8_u8(vshrq_n_u8(packed, 6));
                const int8x16_t second = vreinterpretq_s8_u8(vandq_u8(vshrq_n_u8(packed, 4), mask));
                const int8x16_t third = vreinterpretq_s8_u8(vandq_u8(vshrq_n_u8(packed, 2), mask));
                const int8x16_t fourth = vreinterpretq_s8_u8(vandq_u8(packed, mask));
                for (std::size_t t = 0; t < T; ++t) {
                    int32x4_t& sum = sums[t][v];
                    sum = vdotq_laneq_s32(sum, first, of_token[t], 0);
                    sum = vdotq_laneq_s32(sum, second, of_token[t], 1);
                    sum = vdotq_laneq_s32(sum, third, of_token[t], 2);
                    sum = vdotq_laneq_s32(sum, fourth, of_token[t], 3);
                }
            }
        }
        for (std::size_t t = 0; t < T; ++t)
            for (std::size_t v = 0; v < kVecs; ++v) vst1q_s32(&out[0][t][4 * v], sums[t][v]);
    }
};

}  // namespace
}  // namespace sterna

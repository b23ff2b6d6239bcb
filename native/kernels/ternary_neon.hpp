// Ternary dot products on NEON (ternary_dot.hpp), for any multiply-add of blocks of bytes. `Op` provides
//
//   kRows, kTokens   rows in a vector of codes, tokens in a vector of sums
//   interleave(in, out)   from sixteen bytes of each of kRows rows to kRows vectors of 16 / kRows columns of every row
//   X load(a, b)   sixteen activations of a token, or of two
//   multiply_add<J>(sum, codes, x)   adds the products of columns 16 / kRows * J and on
//   rows(sums, quad, token)   the sums of four rows and one of the tokens
//
// A tile keeps 4 x 4 vectors of sums in registers.
#pragma once

#include <arm_neon.h>

#include <utility>

#include "ceilings.hpp"
#include "ternary_dot.hpp"

namespace sterna {
namespace {

template <class Op>
struct TernaryNeon {
    static constexpr std::size_t kGroups = 4, kRows = kGroups * Op::kRows, kTokens = 4 * Op::kTokens;
    static constexpr std::size_t kBlocks = 128 / kRows;  // 16 kB
    using Partial = int32x4_t;

    static void fold(const Partial (&sums)[kFold], std::int32_t (&dots)[kFold]) {
        for (std::size_t i = 0; i < kFold; ++i) dots[i] = vaddvq_s32(sums[i]);
    }

    template <std::size_t T>
    static void row(const std::uint8_t* row, const std::int8_t* x, std::size_t x_stride, std::size_t cols,
                    int32x4_t* sums) {
        const uint8x16_t mask = vdupq_n_u8(3);
        for (std::size_t t = 0; t < T; ++t) sums[t] = vdupq_n_s32(0);
        for (std::size_t k = 0; k < cols; k += 128, row += 32)
            for (std::size_t part = 0; part < 32; part += 16) {
                const uint8x16_t packed = vld1q_u8(row + part);
                const int8x16_t codes[4] = {
                    vreinterpretq_s8_u8(vshrq_n_u8(packed, 6)),
                    vreinterpretq_s8_u8(vandq_u8(vshrq_n_u8(packed, 4), mask)),
                    vreinterpretq_s8_u8(vandq_u8(vshrq_n_u8(packed, 2), mask)),
                    vreinterpretq_s8_u8(vandq_u8(packed, mask)),
                };
                for (std::size_t t = 0; t < T; ++t)
                    for (std::size_t q = 0; q < 4; ++q)
                        sums[t] = vdotq_s32(sums[t], codes[q], vld1q_s8(x + t * x_stride + k + part + 32 * q));
            }
    }

    // The layout is codes[k / 16][vector of a group][group][16].
    static void unpack(const std::uint8_t* rows, std::size_t row_bytes, std::size_t n_rows, std::size_t blocks,
                       std::uint8_t* codes) {
        const uint8x16_t mask = vdupq_n_u8(3);
        for (std::size_t g = 0; g < kGroups; ++g)
            for (std::size_t part = 0; part < 2 * blocks; ++part) {
                uint8x16_t in[Op::kRows], out[Op::kRows];
                for (std::size_t i = 0; i < Op::kRows; ++i) {
                    const std::uint8_t* at = rows + smaller(Op::kRows * g + i, n_rows - 1) * row_bytes + 16 * part;
                    if (part % 4 == 0) __builtin_prefetch(at + kRows * row_bytes, 0, 2);
                    in[i] = vld1q_u8(at);
                }
                Op::interleave(in, out);
                for (std::size_t i = 0; i < Op::kRows; ++i) {
                    const auto store = [&](std::size_t quarter, uint8x16_t w) {
                        const std::size_t sixteen = 8 * (part / 2) + 2 * quarter + part % 2;
                        vst1q_u8(codes + 16 * ((sixteen * Op::kRows + i) * kGroups + g), vandq_u8(w, mask));
                    };
                    store(0, vshrq_n_u8(out[i], 6));
                    store(1, vshrq_n_u8(out[i], 4));
                    store(2, vshrq_n_u8(out[i], 2));
                    store(3, out[i]);
                }
            }
    }

    template <std::size_t T>
    static void tile(const std::uint8_t* codes, const std::int8_t* x, std::size_t x_stride, std::size_t blocks,
                     std::int32_t* sums) {
        constexpr std::size_t kSums = (T + Op::kTokens - 1) / Op::kTokens;
        int32x4_t acc[kSums][kGroups];
        for (auto& of_token : acc)
            for (int32x4_t& sum : of_token) sum = vdupq_n_s32(0);
        for (std::size_t k = 0; k < 128 * blocks; k += 16) {
            typename Op::X xs[kSums];
            for (std::size_t i = 0; i < kSums; ++i) {  // an odd last token is paired with itself
                const std::size_t first = i * Op::kTokens, last = smaller(first + Op::kTokens, T) - 1;
                xs[i] = Op::load(x + first * x_stride + k, x + last * x_stride + k);
            }
            [&]<std::size_t... J>(std::index_sequence<J...>) {
                (
                    [&] {
                        for (std::size_t g = 0; g < kGroups; ++g, codes += 16) {
                            const int8x16_t w = vreinterpretq_s8_u8(vld1q_u8(codes));
                            for (std::size_t i = 0; i < kSums; ++i)
                                acc[i][g] = Op::template multiply_add<J>(acc[i][g], w, xs[i]);
                        }
                    }(),
                    ...);
            }
            (std::make_index_sequence<Op::kRows>());
        }
        for (std::size_t t = 0; t < T; ++t)
            for (std::size_t quad = 0; quad < kRows / 4; ++quad) {
                std::int32_t* at = sums + t * kRows + 4 * quad;
                vst1q_s32(at, vaddq_s32(vld1q_s32(at), Op::rows(acc[t / Op::kTokens], quad, t % Op::kTokens)));
            }
    }
};

// The ceiling of a tile: its multiply-adds without its loads.
template <class Op>
std::uint64_t multiply_add(std::size_t rounds) {
    constexpr std::size_t kSums = 16;  // enough to hide the latency
    const std::int8_t bytes[16] = {1, 2, 3};
    int32x4_t sums[kSums];
    int8x16_t codes = vld1q_s8(bytes);
    const typename Op::X x = Op::load(bytes, bytes);
    for (int32x4_t& sum : sums) sum = vdupq_n_s32(0);
    for (std::size_t round = 0; round < rounds; ++round)
        for (int32x4_t& sum : sums) {
            opaque(codes);
            sum = Op::template multiply_add<0>(sum, codes, x);
        }
    for (int32x4_t& sum : sums) opaque(sum);
    return rounds * kSums * 16 * Op::kTokens;
}

}  // namespace
}  // namespace sterna

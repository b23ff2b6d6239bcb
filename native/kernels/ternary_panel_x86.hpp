// Dot products of ternary panels (ternary_panel_dot.hpp) on x86, for any vector width and multiply-add. `Op` provides
//
//   Vec   a vector of 32-bit lanes, one for each row
//   multiply_add(sum, codes, x)   adds four products of a byte of codes and an int8 to each lane
//   widen(sum)   the sums of each lane in 32 bits
//   kInPlace   whether codes may keep their place in the byte, so that 2 counts up to 128; else they are 0 to 2
//   kLines   lines after which sums must be widened, or they would overflow; 0: never
//   kPanelTokens   most tokens at once
//
// Few tokens multiply the codes in place, each place with sums of its own, which saves the shifts; the sums are shifted
// at the end. The more tokens, the fewer registers are left for sums, and the less a shift costs.
#pragma once

#include "ternary_panel_dot.hpp"

namespace sterna {
namespace {

template <class Op>
struct PanelX86 {
    using Vec = typename Op::Vec;
    typedef std::uint16_t Shorts __attribute__((vector_size(sizeof(Vec))));
    static constexpr std::size_t kTokens = Op::kPanelTokens;
    static constexpr std::size_t kVecs = kTernaryLine / sizeof(Vec);  // of a line
    static constexpr std::size_t kRegisters = sizeof(Vec) == 64 ? 32 : 16;
    static constexpr bool kFullGroups = Op::kInPlace && kRegisters == 32;

    // A second panel shares the loads of the activations. One token leaves memory a single stream.
    template <std::size_t T>
    static constexpr std::size_t kPanels = sizeof(Vec) == 64 && T > 1 ? 2 : 1;

    // Sums of a token and vector of rows: one for each place of a code in its byte, one for two places, or one.
    static constexpr std::size_t places(std::size_t sums) {
        if (!Op::kInPlace || 4 * sums > kRegisters) return 1;
        return 8 * sums > kRegisters ? 2 : 4;
    }

    template <std::size_t T, std::size_t P>
    static void multiply(const std::uint8_t* panels, std::size_t lines, const std::int8_t* x, std::size_t x_stride,
                         std::size_t ahead, std::int32_t (&out)[P][T][kTernaryRows]) {
        std::memset(out, 0, sizeof(out));
        const std::size_t piece = Op::kLines == 0 ? lines : Op::kLines, panel_bytes = lines * kTernaryLine;
        for (std::size_t first = 0; first < lines; first += piece)
            add_lines<T, P>(panels + first * kTernaryLine, panel_bytes, smaller(piece, lines - first),
                            x + first * kLineColumns, x_stride, ahead, out);
    }

private:
    template <std::size_t T, std::size_t P>
    [[gnu::always_inline]] static void add_lines(const std::uint8_t* panels, std::size_t panel_bytes, std::size_t lines,
                                                 const std::int8_t* x, std::size_t x_stride, std::size_t ahead,
                                                 std::int32_t (&out)[P][T][kTernaryRows]) {
        constexpr std::size_t kAll = P * kVecs, kPlaces = places(kAll * T);
        Vec sums[kAll][T][kPlaces] = {};
        for (std::size_t line = 0; line < lines; ++line, panels += kTernaryLine, x += kLineColumns) {
            // One stream goes to L2, then to L1. Two take turns too fast for that: the next panels go to L2 meanwhile.
            if (P == 1) {
                __builtin_prefetch(panels + ahead, 0, 2);
                __builtin_prefetch(panels + ahead / 8);
            }
#pragma GCC unroll 2
            for (std::size_t p = 0; P > 1 && p < P; ++p) __builtin_prefetch(panels + (P + p) * panel_bytes, 0, 2);
#pragma GCC unroll 4
            for (std::size_t f = 0; f < 4; ++f) {
                Vec codes[kAll];
#pragma GCC unroll 4
                for (std::size_t v = 0; v < kAll; ++v)
                    codes[v] = field<kPlaces>(panels + v / kVecs * panel_bytes + v % kVecs * sizeof(Vec), f);
#pragma GCC unroll 16
                for (std::size_t t = 0; t < T; ++t) {
                    std::int32_t four;
                    std::memcpy(&four, x + t * x_stride + 4 * f, 4);
                    const Vec all = Vec{} + four;
#pragma GCC unroll 4
                    for (std::size_t v = 0; v < kAll; ++v) Op::multiply_add(sums[v][t][f % kPlaces], codes[v], all);
                }
            }
        }
#pragma GCC unroll 4
        for (std::size_t v = 0; v < kAll; ++v)
#pragma GCC unroll 16
            for (std::size_t t = 0; t < T; ++t) {
                const auto& by_place = sums[v][t];
                Vec sum = Op::widen(by_place[kPlaces - 1]), before;
                if constexpr (kPlaces == 2) sum += by_place[0] >> 2;
                if constexpr (kPlaces == 4) sum += (by_place[0] >> 6) + (by_place[1] >> 4) + (by_place[2] >> 2);
                std::int32_t* place = &out[v / kVecs][t][v % kVecs * sizeof(Vec) / 4];
                std::memcpy(&before, place, sizeof(before));
                sum += before;
                std::memcpy(place, &sum, sizeof(sum));
            }
    }

    // The codes of field f of a line. With four places they stay where they are; with two they are in bits 3:2 (fields
    // 0 and 2) or 1:0; with one they are in bits 1:0.
    template <std::size_t kPlaces>
    static Vec field(const std::uint8_t* line, std::size_t f) {
        Shorts v;
        std::memcpy(&v, line, sizeof(v));
        const int place = kPlaces == 4 ? 3 - static_cast<int>(f) : kPlaces == 2 ? 1 - static_cast<int>(f % 2) : 0;
        const auto pair = static_cast<std::uint16_t>(0x0303 << 2 * place);
        v = (v >> (6 - 2 * static_cast<int>(f) - 2 * place)) & (Shorts{} + pair);
        return reinterpret_cast<Vec>(v);
    }
};

}  // namespace
}  // namespace sterna

// Products of group-scaled ternary panels (ternary_group_panels.hpp) and tokens, on the vectors of panel_lanes.hpp. The
// codes are unpacked in registers, once for all tokens at hand and both halves of their activations. Few tokens
// multiply the codes where they are in their bytes, each place with sums of its own, which are shifted at the end of a
// group. Compiled once per ISA; internal linkage.
#pragma once

#include <utility>

#include "panel_lanes.hpp"
#include "ternary_dot.hpp"
#include "ternary_group_panels.hpp"

namespace sterna {
namespace {

// sum += the products of four columns of each row with four activations, in assembly where gcc 12 copies and spills
// sums that go through the intrinsics. in_32_bits: what sums become at the end of a group.
#if defined(__AVX512VNNI__) || defined(__AVXVNNI__)
constexpr bool kCodesInPlace = true;
inline void add_columns(RowInts& sum, const CodeVec& codes, const RowInts& x) {
#if defined(__AVX512VNNI__)
    asm("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(codes), "v"(x));
#else
    asm("%{vex%} vpdpbusd %2, %1, %0" : "+x"(sum) : "x"(codes), "x"(x));
#endif
}
inline RowInts in_32_bits(const RowInts& sum) {
    return sum;
}
#elif defined(__AVX2__)
constexpr bool kCodesInPlace = false;
// Two products of a lane add up to at most 2 * 3 * 127, or 2 * 2 * 127 in groups of 256 columns, so 16 bits hold a
// group's sums: those of 32 or 64 steps.
inline void add_columns(RowInts& sum, const CodeVec& codes, const RowInts& x) {
    __m256i product;
    asm("vpmaddubsw %3, %2, %1\nvpaddw %1, %0, %0" : "+x"(sum), "=&x"(product) : "x"(codes), "x"(x));
}
inline RowInts in_32_bits(const RowInts& sum) {
    return reinterpret_cast<RowInts>(_mm256_madd_epi16(reinterpret_cast<__m256i>(sum), _mm256_set1_epi16(1)));
}
#elif defined(__ARM_NEON)
constexpr bool kCodesInPlace = false;
inline void add_columns(RowInts& sum, const CodeVec& codes, const RowInts& x) {
    sum = reinterpret_cast<RowInts>(vdotq_s32(reinterpret_cast<int32x4_t>(sum), reinterpret_cast<int8x16_t>(codes),
                                              reinterpret_cast<int8x16_t>(x)));
}
inline RowInts in_32_bits(const RowInts& sum) {
    return sum;
}
#endif

// kGroupTokens: most tokens that share the unpacking of codes. kSums: registers for sums.
#if defined(__AVX512F__)
constexpr std::size_t kGroupTokens = 6, kSums = 24;
#elif defined(__AVX2__)
constexpr std::size_t kGroupTokens = 3, kSums = 12;
#else
constexpr std::size_t kGroupTokens = 2, kSums = 16;
#endif
constexpr std::size_t kGroupAhead = 16384, kGroupNear = 1024;  // bytes ahead of use that lines go to L2 and to L1

// Panels that T tokens take at once. A second one shares the loads of activations; one token reads a single stream.
template <std::size_t T>
constexpr std::size_t kGroupPanels = kPanelRegisters == 1 && T > 1 ? 2 : 1;

// Sums of a token, half and vector of rows: one for each place of a code in its byte, one for two places, or one.
constexpr std::size_t group_places(std::size_t sums) {
    return !kCodesInPlace || 2 * sums > kSums ? 1 : 4 * sums > kSums ? 2 : 4;
}

// The codes of field f of a line. With four places they stay where they are; with two they are in bits 3:2 (fields 0
// and 2) or 1:0; with one they are in bits 1:0.
template <std::size_t Places>
inline CodeVec codes_of_field(const std::uint8_t* line, std::size_t f) {
    FieldVec v;
    std::memcpy(&v, line, sizeof(v));
    const int place = Places == 4 ? 3 - static_cast<int>(f) : Places == 2 ? 1 - static_cast<int>(f % 2) : 0;
    const auto pair = static_cast<std::uint16_t>(0x0303 << 2 * place);
    return reinterpret_cast<CodeVec>((v >> (6 - 2 * static_cast<int>(f) - 2 * place)) & (FieldVec{} + pair));
}

// Adds one group to the products of T tokens and P panels. line: of the first panel; high, low: of the first token.
template <std::size_t T, std::size_t P>
[[gnu::always_inline]] inline void add_group_lines(const GroupPanels& shape, const std::uint8_t* line,
                                                   const std::int8_t* high, const std::int8_t* low, std::size_t stride,
                                                   RowInts (&out)[P * kPanelRegisters][T]) {
    constexpr std::size_t kAll = P * kPanelRegisters, kPlaces = group_places(2 * T * kAll);
    RowInts sums[2][kAll][T][kPlaces] = {};
    const std::size_t lines = shape.group_lines(), panel_bytes = shape.bytes();
    for (std::size_t i = 0; i < lines; ++i, line += kTernaryLine, high += kLineColumns, low += kLineColumns) {
        __builtin_prefetch(line + (P == 1 ? kGroupAhead : P * panel_bytes), 0, 2);
        if (P == 1) __builtin_prefetch(line + kGroupNear);
        if (P == 2) __builtin_prefetch(line + (P + 1) * panel_bytes, 0, 2);
#pragma GCC unroll 4
        for (std::size_t f = 0; f < 4; ++f) {
            CodeVec codes[kAll];
#pragma GCC unroll 4
            for (std::size_t v = 0; v < kAll; ++v)
                codes[v] = codes_of_field<kPlaces>(
                    line + v / kPanelRegisters * panel_bytes + v % kPanelRegisters * sizeof(RowInts), f);
#pragma GCC unroll 6
            for (std::size_t t = 0; t < T; ++t)
#pragma GCC unroll 2
                for (std::size_t half = 0; half < 2; ++half) {
                    std::int32_t four;
                    std::memcpy(&four, (half == 0 ? high : low) + t * stride + 4 * f, 4);
                    const RowInts x = RowInts{} + four;
#pragma GCC unroll 4
                    for (std::size_t v = 0; v < kAll; ++v) add_columns(sums[half][v][t][f % kPlaces], codes[v], x);
                }
        }
    }
#pragma GCC unroll 4
    for (std::size_t v = 0; v < kAll; ++v)
#pragma GCC unroll 6
        for (std::size_t t = 0; t < T; ++t) {
            RowInts of_half[2];
#pragma GCC unroll 2
            for (std::size_t half = 0; half < 2; ++half) {
                const auto& places = sums[half][v][t];
                of_half[half] = in_32_bits(places[kPlaces - 1]);
                if constexpr (kPlaces == 2) of_half[half] += places[0] >> 2;
                if constexpr (kPlaces == 4) of_half[half] += (places[0] >> 6) + (places[1] >> 4) + (places[2] >> 2);
            }
            out[v][t] = (of_half[0] << 7) + of_half[1];
        }
}

// The sum of a token's activations over a group.
inline std::int32_t sum_of_group(const Int15Activations& x, std::size_t token, std::size_t group, std::size_t columns) {
    const float* sums = x.thirty_twos + (token * x.stride + group * columns) / 32;
    float sum = sums[0] + sums[1];
    for (std::size_t i = 2; i < columns / 32; ++i) sum += sums[i];
    return static_cast<std::int32_t>(sum);
}

// Writes the products of a panel's rows, those of register v, with one token.
inline void put_group_products(const PanelTask& task, std::size_t token, std::size_t panel, std::size_t v,
                               const RowVec& products) {
    const std::size_t row = panel * kTernaryRows + v * kPanelWidth;
    if (row >= task.rows) return;
    const RowVec quotients = products / task.x.scales[token];
    const std::size_t count = smaller(task.rows - row, kPanelWidth);
    std::memcpy(task.out.data + token * task.out.stride + row, &quotients, count * sizeof(float));
}

// The panels from `panel` on, P of them, times the tokens from `token` on, T of them.
template <std::size_t T, std::size_t P>
void multiply_group_panels(const PanelTask& task, const GroupPanels& shape, std::size_t panel, std::size_t token) {
    const Int15Activations& x = task.x;
    const std::uint8_t *at = task.panels + panel * shape.bytes(), *lines = at + shape.lines_at();
    const std::int8_t *high = x.high + token * x.stride, *low = x.low + token * x.stride;
    RowVec products[P * kPanelRegisters][T] = {};
    for (std::size_t g = 0; g < shape.groups(); ++g) {
        RowInts sums[P * kPanelRegisters][T];
        add_group_lines<T, P>(shape, lines + g * shape.group_lines() * kTernaryLine, high + g * shape.group,
                              low + g * shape.group, x.stride, sums);
#pragma GCC unroll 4
        for (std::size_t v = 0; v < P * kPanelRegisters; ++v) {
            const RowVec scales = rows_of_halfs(at + v / kPanelRegisters * shape.bytes() + g * GroupPanels::kScales +
                                                2 * kPanelWidth * (v % kPanelRegisters));
#pragma GCC unroll 6
            for (std::size_t t = 0; t < T; ++t)
                products[v][t] += scales * to_float(sums[v][t] - sum_of_group(x, token + t, g, shape.group));
        }
    }
    for (std::size_t v = 0; v < P * kPanelRegisters; ++v)
        for (std::size_t t = 0; t < T; ++t)
            put_group_products(task, token + t, panel + v / kPanelRegisters, v % kPanelRegisters, products[v][t]);
}

template <std::size_t T>
void multiply_group_tokens(const PanelTask& task, const GroupPanels& shape, std::size_t first, std::size_t last,
                           std::size_t token) {
    constexpr std::size_t P = kGroupPanels<T>;
    for (; first + P <= last; first += P) multiply_group_panels<T, P>(task, shape, first, token);
    if (first < last) multiply_group_panels<T, 1>(task, shape, first, token);
}

template <std::size_t... T>
void group_panel_dot(std::index_sequence<T...>, const PanelTask& task, const GroupPanels& shape) {
    constexpr decltype(&multiply_group_tokens<1>) kByTokens[] = {multiply_group_tokens<T + 1>...};
    constexpr std::size_t kStep = 2;  // panels that stay in L1 or L2 while the tokens pass
    const std::size_t turns = (task.n_tokens + kGroupTokens - 1) / kGroupTokens;
    const std::size_t width = (task.n_tokens + turns - 1) / turns;
    const std::size_t panels = (task.rows + kTernaryRows - 1) / kTernaryRows;
    for (std::size_t panel = 0; panel < panels; panel += kStep)
        for (std::size_t t = 0; t < task.n_tokens; t += width)
            kByTokens[smaller(width, task.n_tokens - t) - 1](task, shape, panel, smaller(panel + kStep, panels), t);
}

// `group`: columns that share a scale.
inline void group_panel_dot(const PanelTask& task, std::size_t group) {
    if (task.n_tokens != 0) group_panel_dot(std::make_index_sequence<kGroupTokens>(), task, {task.cols, group});
}

}  // namespace
}  // namespace sterna

// Products of INT4 panels (int4_panels.hpp) and tokens, on the vectors of panel_lanes.hpp: codes are unpacked in
// registers, once for all tokens at hand. Compiled once per ISA; internal linkage.
#pragma once

#include <utility>

#include "int4_panels.hpp"
#include "panel_sums.hpp"

namespace sterna {
namespace {

// Most tokens that share the unpacking of codes.
#if defined(__AVX512F__)
constexpr std::size_t kInt4Tokens = 12;
#else
constexpr std::size_t kInt4Tokens = 4;
#endif
constexpr std::size_t kInt4Ahead = 16384, kInt4Near = 1024;  // bytes ahead of use that lines go to L2 and to L1

// a * b + c, rounded once.
inline RowVec fma_rows(const RowVec& a, const RowVec& b, const RowVec& c) {
#if defined(__AVX512F__)
    return reinterpret_cast<RowVec>(
        _mm512_fmadd_ps(reinterpret_cast<__m512>(a), reinterpret_cast<__m512>(b), reinterpret_cast<__m512>(c)));
#elif defined(__FMA__)
    return reinterpret_cast<RowVec>(
        _mm256_fmadd_ps(reinterpret_cast<__m256>(a), reinterpret_cast<__m256>(b), reinterpret_cast<__m256>(c)));
#elif defined(__ARM_NEON)
    return reinterpret_cast<RowVec>(vfmaq_f32(reinterpret_cast<float32x4_t>(c), reinterpret_cast<float32x4_t>(a),
                                              reinterpret_cast<float32x4_t>(b)));
#endif
}

inline RowVec all_rows(float x) {
    return RowVec{} + x;
}

// The low and the high nibbles of a line, for the rows of one register.
struct LineCodes {
    CodeVec low, high;
};

inline LineCodes codes_of_line(const std::uint8_t* line) {
    FieldVec v;
    std::memcpy(&v, line, sizeof(v));
    constexpr std::uint16_t kNibbles = 0x0f0f;
    return {reinterpret_cast<CodeVec>(v & kNibbles), reinterpret_cast<CodeVec>(v >> 4 & kNibbles)};
}

#if defined(__ARM_NEON)
inline void add_four(RowInts& sum, const CodeVec& codes, const std::int8_t* x) {
    std::int32_t four;
    std::memcpy(&four, x, sizeof(four));
    sum = reinterpret_cast<RowInts>(vdotq_s32(reinterpret_cast<int32x4_t>(sum), reinterpret_cast<int8x16_t>(codes),
                                              vreinterpretq_s8_s32(vdupq_n_s32(four))));
}
#endif

// low[t] and high[t] += the products of the low and of the high nibbles of some lines and the activations of T tokens.
template <std::size_t T, class Sum>
[[gnu::always_inline]] inline void add_lines(const std::uint8_t* line, std::size_t lines, const std::int8_t* x,
                                             std::size_t stride, Sum (&low)[T], Sum (&high)[T]) {
#pragma GCC unroll 4
    for (std::size_t i = 0; i < lines; ++i, line += kInt4Line, x += kInt4LineColumns) {
        const LineCodes codes = codes_of_line(line);
#pragma GCC unroll 12
        for (std::size_t t = 0; t < T; ++t) {
            add_four(low[t], codes.low, x + t * stride);
            add_four(high[t], codes.high, x + t * stride + 4);
        }
    }
}

// sums[t] = the sums of the codes of one group times the activations of T tokens, for the rows of one register.
template <std::size_t T>
[[gnu::always_inline]] inline void int4_sums(const std::uint8_t* line, std::size_t lines, const std::int8_t* x,
                                             std::size_t stride, RowInts (&sums)[T]) {
    for (RowInts& sum : sums) sum = RowInts{};
#if defined(__AVX2__) && !defined(__AVX512VNNI__) && !defined(__AVXVNNI__)
    // Eight sums of two products of a code and an activation, at most 8 * 2 * 15 * 128, fit 16 bits.
    constexpr std::size_t kRun = 4;
    for (std::size_t run = 0; run < lines; run += kRun, line += kRun * kInt4Line, x += kRun * kInt4LineColumns) {
        __m256i pairs[T];
        for (__m256i& pair : pairs) pair = _mm256_setzero_si256();
        add_lines(line, kRun, x, stride, pairs, pairs);
        for (std::size_t t = 0; t < T; ++t)
            sums[t] += reinterpret_cast<RowInts>(_mm256_madd_epi16(pairs[t], _mm256_set1_epi16(1)));
    }
#else
    RowInts more[T] = {};  // a second chain of additions
    add_lines(line, lines, x, stride, sums, T < 5 ? more : sums);
    for (std::size_t t = 0; t < T && T < 5; ++t) sums[t] += more[t];
#endif
}

template <std::size_t T, std::size_t Halves>
void int4_rows(const Int4Task& task, std::size_t token) {
    const std::size_t groups = task.cols / task.group, lines = task.group / kInt4LineColumns;
    const std::uint8_t* at = task.panels;
    for (std::size_t row = 0; row < task.rows; row += kInt4Rows) {
        RowVec products[kPanelRegisters][T] = {};
        for (std::size_t g = 0; g < groups; ++g, at += int4_group_bytes(task.group)) {
            for (std::size_t line = 0; T < 5 && line <= lines; ++line) {
                __builtin_prefetch(at + kInt4Ahead + kInt4Line * line, 0, 2);
                __builtin_prefetch(at + kInt4Near + kInt4Line * line);
            }
#pragma GCC unroll 4
            for (std::size_t v = 0; v < kPanelRegisters; ++v) {
                const RowVec d = rows_of_halfs(at + 2 * kPanelWidth * v);
                const RowVec z = RowVec{} - rows_of_halfs(at + 2 * kInt4Rows + 2 * kPanelWidth * v);
                RowVec n[T];
#pragma GCC unroll 2
                for (std::size_t half = 0; half < Halves; ++half) {
                    const Int4Activations& x = task.x[half];
                    RowInts sums[T];
                    int4_sums<T>(at + kInt4Line + v * sizeof(RowInts), lines,
                                 x.codes + token * task.stride + g * task.group, task.stride, sums);
#pragma GCC unroll 12
                    for (std::size_t t = 0; t < T; ++t) {
                        const RowVec of_half =
                            fma_rows(z, all_rows(x.sums[(token + t) * groups + g]), to_float(sums[t]));
                        n[t] = half == 0 ? of_half : fma_rows(all_rows(128.0f), n[t], of_half);
                    }
                }
#pragma GCC unroll 12
                for (std::size_t t = 0; t < T; ++t)
                    products[v][t] = fma_rows(n[t], d * task.factors[(token + t) * groups + g], products[v][t]);
            }
        }
        for (std::size_t v = 0; v < kPanelRegisters && row + v * kPanelWidth < task.rows; ++v) {
            const std::size_t first = row + v * kPanelWidth, left = task.rows - first;
            const std::size_t count = left < kPanelWidth ? left : kPanelWidth;
            for (std::size_t t = 0; t < T; ++t)
                std::memcpy(task.out.data + (token + t) * task.out.stride + first, &products[v][t],
                            count * sizeof(float));
        }
    }
}

template <std::size_t Halves, std::size_t... T>
void int4_tokens(std::index_sequence<T...>, const Int4Task& task) {
    constexpr decltype(&int4_rows<1, Halves>) kByTokens[] = {int4_rows<T + 1, Halves>...};
    const std::size_t turns = (task.n_tokens + kInt4Tokens - 1) / kInt4Tokens;
    const std::size_t width = turns == 0 ? 1 : (task.n_tokens + turns - 1) / turns;
    for (std::size_t t = 0; t < task.n_tokens; t += width)
        kByTokens[(task.n_tokens - t < width ? task.n_tokens - t : width) - 1](task, t);
}

void int4_dot(const Int4Task& task) {
    constexpr std::make_index_sequence<kInt4Tokens> kTokens;
    task.halves == 1 ? int4_tokens<1>(kTokens, task) : int4_tokens<2>(kTokens, task);
}

}  // namespace
}  // namespace sterna

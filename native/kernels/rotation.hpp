// Pairwise rotations of groups of columns (operations.Rotate), of one token or of up to sixteen, whose results can be
// quantised where they are. Both give the same bits. Compiled once per ISA; internal linkage.
#pragma once

#include <utility>

#include "float_ops.hpp"
#include "kernels.hpp"
#include "lanes.hpp"

namespace sterna {
namespace {

// c - a * b, rounded once.
inline Lanes minus_product(const Lanes& a, const Lanes& b, const Lanes& c) {
    Lanes r;
    for (int i = 0; i < kRegisters; ++i) {
#if defined(__AVX512F__)
        r.v[i] = reinterpret_cast<Vec>(_mm512_fnmadd_ps(
            reinterpret_cast<__m512>(a.v[i]), reinterpret_cast<__m512>(b.v[i]), reinterpret_cast<__m512>(c.v[i])));
#elif defined(__FMA__)
        r.v[i] = reinterpret_cast<Vec>(_mm256_fnmadd_ps(
            reinterpret_cast<__m256>(a.v[i]), reinterpret_cast<__m256>(b.v[i]), reinterpret_cast<__m256>(c.v[i])));
#elif defined(__ARM_NEON)
        r.v[i] = reinterpret_cast<Vec>(vfmsq_f32(reinterpret_cast<float32x4_t>(c.v[i]),
                                                 reinterpret_cast<float32x4_t>(a.v[i]),
                                                 reinterpret_cast<float32x4_t>(b.v[i])));
#endif
    }
#if !defined(__FMA__) && !defined(__ARM_NEON)
    r = fma(splat(0.0f) - a, b, c);
#endif
    return r;
}

// Values of sixteen tokens, one after the other for each column of a group, whose rotations these are. With registers
// for it, several pairs are loaded before any is stored, so that loads need not wait for the places of stores.
inline void rotate_tile(const RotationTask& task, std::size_t g, Lanes* lanes) {
    auto* values = reinterpret_cast<float*>(lanes);
    constexpr std::size_t kPairs = kWidth == 16 ? 4 : 1;
    const std::size_t half = task.group / 2;
    for (std::size_t k = 0; k < task.rotations; ++k) {
        const std::size_t at = (k * task.groups + g) * half;
        const std::uint16_t* pairs = task.tile_pairs + 2 * at;
        const float *cosines = task.cos + at, *sines = task.sin + at;
        for (std::size_t m = 0; m < half; m += kPairs) {
            Lanes i[kPairs], j[kPairs];
            for (std::size_t n = 0; n < kPairs; ++n) {
                i[n] = load(values + pairs[2 * (m + n)]);
                j[n] = load(values + pairs[2 * (m + n) + 1]);
            }
            for (std::size_t n = 0; n < kPairs; ++n) {
                const Lanes cos = splat(cosines[m + n]), sin = splat(sines[m + n]);
                store(values + pairs[2 * (m + n)], fma(sin, j[n], cos * i[n]));
                store(values + pairs[2 * (m + n) + 1], minus_product(sin, i[n], cos * j[n]));
            }
        }
    }
}

// Exchanges, in rows a and b that lie `Step` apart, the columns of a with and those of b without the bit `Step`.
template <int Step, int... J>
inline void exchange(Vec& a, Vec& b, std::integer_sequence<int, J...>) {
    const Vec first = __builtin_shufflevector(a, b, (J & Step ? kWidth + J - Step : J)...);
    b = __builtin_shufflevector(a, b, (J & Step ? kWidth + J : J + Step)...);
    a = first;
}

// A square of kWidth rows, transposed in their registers.
template <int Step = kWidth / 2>
inline void transpose(Vec (&rows)[kWidth]) {
    for (int r = 0; r < kWidth; ++r)
        if (!(r & Step)) exchange<Step>(rows[r], rows[r + Step], std::make_integer_sequence<int, kWidth>());
    if constexpr (Step > 1) transpose<Step / 2>(rows);
}

// Sixteen columns of sixteen rows, from or to the lanes of one column each; those that are taken are scaled.
inline void take_columns(const float* const* rows, const float* scales, std::size_t column, Lanes* out) {
    Vec square[kWidth];
    for (std::size_t r = 0; r < kLanes; r += kWidth)
        for (std::size_t c = 0; c < kLanes; c += kWidth) {
            for (std::size_t i = 0; i < kWidth; ++i) std::memcpy(&square[i], rows[r + i] + column + c, sizeof(Vec));
            transpose(square);
            for (std::size_t i = 0; i < kWidth; ++i)
                out[c + i].v[r / kWidth] = square[i] * splat(scales[column + c + i]).v[0];
        }
}

inline void put_columns(const Lanes* in, float* const* rows, std::size_t column) {
    Vec square[kWidth];
    for (std::size_t r = 0; r < kLanes; r += kWidth)
        for (std::size_t c = 0; c < kLanes; c += kWidth) {
            for (std::size_t i = 0; i < kWidth; ++i) square[i] = in[c + i].v[r / kWidth];
            transpose(square);
            for (std::size_t i = 0; i < kWidth; ++i) std::memcpy(rows[r + i] + column + c, &square[i], sizeof(Vec));
        }
}

// Four whole numbers from -128 to 127 as the bytes of a word, in every lane.
inline Lanes bytes_of(const Lanes (&numbers)[4]) {
    Lanes words;
    for (int i = 0; i < kRegisters; ++i) {
        IntVec word = __builtin_convertvector(numbers[3].v[i], IntVec);
        for (int n = 2; n >= 0; --n) word = word << 8 | (__builtin_convertvector(numbers[n].v[i], IntVec) & 255);
        std::memcpy(&words.v[i], &word, sizeof(word));
    }
    return words;
}

// As quantize_int8, of columns from `column` on that have one scale, for sixteen tokens at once.
inline void quantize_columns(const Lanes* values, std::size_t column, const RotationTask& task) {
    const Int8Rows& to = task.quantized;
    values += column % task.group;
    Lanes most = splat(1e-5f), least = splat(-1e-5f);
    for (std::size_t c = 0; c < to.group; ++c) {
        most = max(most, values[c]);
        least = min(least, values[c]);
    }
    const Lanes factor = splat(127.0f) / max(most, splat(0.0f) - least);
    Lanes total = splat(0.0f);
    alignas(64) Lanes words[kMaxRotationGroup / 4];
    for (std::size_t c = 0; c < to.group; c += 4) {
        Lanes rounded[4];
        for (std::size_t n = 0; n < 4; ++n) {
            rounded[n] = max(min(round_even(values[c + n] * factor), splat(127.0f)), splat(-128.0f));
            total = total + rounded[n];
        }
        words[c / 4] = bytes_of(rounded);
    }
    for (std::size_t c = to.group / 4; c % kLanes != 0; ++c) words[c] = splat(0.0f);
    alignas(64) float codes[kLanes][kMaxRotationGroup / 4];
    float* rows[kLanes];
    for (int t = 0; t < kLanes; ++t) rows[t] = codes[t];
    for (std::size_t c = 0; c < to.group / 4; c += kLanes) put_columns(words + c, rows, c);
    float scales[kLanes], sums[kLanes];
    store(scales, factor);
    store(sums, total);
    for (std::size_t t = 0; t < task.n_tokens; ++t) {
        std::memcpy(to.codes + t * to.stride + column, codes[t], to.group);
        to.scales[t * to.groups + column / to.group] = scales[t];
        to.sums[t * to.groups + column / to.group] = static_cast<std::int32_t>(sums[t]);
    }
}

// Lanes past the last token repeat the first one, and are not written.
inline void rotate_tokens(const RotationTask& task) {
    alignas(64) Lanes values[kMaxRotationGroup];
    alignas(64) float unused[kMaxRotationGroup];
    for (std::size_t g = task.first; g < task.last; ++g) {
        const float* from[kLanes];
        float* to[kLanes];
        for (std::size_t t = 0; t < kLanes; ++t) {
            from[t] = task.x + (t < task.n_tokens ? t : 0) * task.x_stride + g * task.group;
            to[t] = t < task.n_tokens && task.out ? task.out + t * task.out_stride + g * task.group : unused;
        }
        const float* scales = task.scales + g * task.group;
        for (std::size_t c = 0; c < task.group; c += kLanes) take_columns(from, scales, c, values + c);
        rotate_tile(task, g, values);
        if (task.out)
            for (std::size_t c = 0; c < task.group; c += kLanes) put_columns(values + c, to, c);
        if (task.quantized.codes)
            for (std::size_t c = 0; c < task.group; c += task.quantized.group)
                quantize_columns(values, g * task.group + c, task);
    }
}

// The values at 16 places.
inline Lanes gather(const float* values, const std::uint8_t* places) {
#if defined(__AVX512F__)
    const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(places));
    const __m512i indices = _mm512_maskz_cvtepu8_epi32(0xffff, bytes);
    return {{reinterpret_cast<Vec>(_mm512_mask_i32gather_ps(_mm512_setzero_ps(), 0xffff, indices, values, 4))}};
#else
    Lanes taken;
    for (int i = 0; i < kLanes; ++i) taken.v[i / kWidth][i % kWidth] = values[places[i]];
    return taken;
#endif
}

// The columns of a group lie, after each rotation, in the order of its pairs: all first ones, then all second ones.
// `places` say where the next rotation finds its pairs there, so that nothing is scattered.
inline void rotate_token(const RotationTask& task) {
    const std::size_t half = task.group / 2;
    alignas(64) float buffers[2][kMaxRotationGroup];
    for (std::size_t g = task.first; g < task.last; ++g) {
        float *values = buffers[0], *next = buffers[1];
        for (std::size_t c = 0; c < task.group; c += kLanes) {
            const std::size_t column = g * task.group + c;
            store(values + c, load(task.x + column) * load(task.scales + column));
        }
        for (std::size_t k = 0; k < task.rotations; ++k) {
            const std::size_t at = (k * task.groups + g) * half;
            const std::uint8_t* places = task.places + 2 * at;
            for (std::size_t m = 0; m < half; m += kLanes) {
                const Lanes i = gather(values, places + m), j = gather(values, places + half + m);
                const Lanes cos = load(task.cos + at + m), sin = load(task.sin + at + m);
                store(next + m, fma(sin, j, cos * i));
                store(next + half + m, minus_product(sin, i, cos * j));
            }
            float* before = values;
            values = next;
            next = before;
        }
        const std::uint8_t* places = task.places + 2 * task.rotations * task.groups * half + g * task.group;
        for (std::size_t c = 0; c < task.group; c += kLanes) store(next + c, gather(values, places + c));
        const Int8Rows& to = task.quantized;
        if (task.out) std::memcpy(task.out + g * task.group, next, task.group * sizeof(float));
        for (std::size_t c = 0; to.codes && c < task.group; c += to.group) {
            const std::size_t column = g * task.group + c, index = column / to.group;
            quantize_int8(next + c, to.group, to.codes + column, to.scales + index, to.sums + index);
        }
    }
}

void rotate(const RotationTask& task) {
    constexpr std::size_t kFew = 3;
    if (task.n_tokens > kFew) return rotate_tokens(task);
    for (std::size_t t = 0; t < task.n_tokens; ++t) {
        RotationTask one = task;
        one.x += t * task.x_stride;
        if (task.out) one.out += t * task.out_stride;
        if (task.quantized.codes) {
            one.quantized.codes += t * task.quantized.stride;
            one.quantized.scales += t * task.quantized.groups;
            one.quantized.sums += t * task.quantized.groups;
        }
        one.n_tokens = 1;
        rotate_token(one);
    }
}

}  // namespace
}  // namespace sterna

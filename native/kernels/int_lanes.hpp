// Sixteen virtual lanes of 32-bit sums, and products of 16-bit numbers, which are added to the sums two at a time. Sums
// of integers do not depend on the order, so every ISA gives the same.
#pragma once

#include "lanes.hpp"

namespace sterna {
namespace {

struct IntLanes {
    IntVec v[kRegisters];
};

inline IntLanes operator+(const IntLanes& a, const IntLanes& b) {
    IntLanes r;
    for (int i = 0; i < kRegisters; ++i) r.v[i] = a.v[i] + b.v[i];
    return r;
}

inline Lanes to_float(const IntLanes& a) {
    Lanes r;
    for (int i = 0; i < kRegisters; ++i) r.v[i] = __builtin_convertvector(a.v[i], Vec);
    return r;
}

// Two 16-bit numbers for each lane.
struct Pairs {
#if defined(__AVX512VNNI__)
    __m512i v;
#elif defined(__AVX2__)
    __m256i v[2];
#elif defined(__ARM_NEON)
    int16x8_t first[2], second[2];
#else
    std::int16_t v[2 * kLanes];
#endif
};

// Loads two numbers for each lane, which are adjacent in memory.
inline Pairs load_pairs(const std::int8_t* p) {
    Pairs r;
#if defined(__AVX512VNNI__)
    r.v = _mm512_cvtepi8_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
#elif defined(__AVX2__)
    for (int i = 0; i < 2; ++i)
        r.v[i] = _mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p + i * kLanes)));
#elif defined(__ARM_NEON)
    const int8x16x2_t both = vld2q_s8(p);
    r.first[0] = vmovl_s8(vget_low_s8(both.val[0]));
    r.first[1] = vmovl_high_s8(both.val[0]);
    r.second[0] = vmovl_s8(vget_low_s8(both.val[1]));
    r.second[1] = vmovl_high_s8(both.val[1]);
#else
    for (int i = 0; i < 2 * kLanes; ++i) r.v[i] = p[i];
#endif
    return r;
}

// sum += pair[0] * x[0] + pair[1] * x[1] in every lane.
inline void add_products(IntLanes& sum, const Pairs& pairs, const std::int16_t* x) {
#if defined(__AVX512VNNI__)
    std::int32_t both;
    std::memcpy(&both, x, sizeof(both));
    sum.v[0] = reinterpret_cast<IntVec>(
        _mm512_dpwssd_epi32(reinterpret_cast<__m512i>(sum.v[0]), pairs.v, _mm512_set1_epi32(both)));
#elif defined(__AVX2__)
    std::int32_t both;
    std::memcpy(&both, x, sizeof(both));
    const __m256i all = _mm256_set1_epi32(both);
    for (int i = 0; i < 2; ++i) {
        const __m256i before = reinterpret_cast<__m256i>(sum.v[i]);
#if defined(__AVXVNNI__)
        sum.v[i] = reinterpret_cast<IntVec>(_mm256_dpwssd_avx_epi32(before, pairs.v[i], all));
#else
        sum.v[i] = reinterpret_cast<IntVec>(_mm256_add_epi32(before, _mm256_madd_epi16(pairs.v[i], all)));
#endif
    }
#elif defined(__ARM_NEON)
    for (int i = 0; i < 2; ++i) {
        sum.v[2 * i] = vmlal_n_s16(sum.v[2 * i], vget_low_s16(pairs.first[i]), x[0]);
        sum.v[2 * i] = vmlal_n_s16(sum.v[2 * i], vget_low_s16(pairs.second[i]), x[1]);
        sum.v[2 * i + 1] = vmlal_high_n_s16(sum.v[2 * i + 1], pairs.first[i], x[0]);
        sum.v[2 * i + 1] = vmlal_high_n_s16(sum.v[2 * i + 1], pairs.second[i], x[1]);
    }
#else
    for (int i = 0; i < kRegisters; ++i)
        for (int j = 0; j < kWidth; ++j) {
            const int lane = i * kWidth + j;
            sum.v[i][j] += pairs.v[2 * lane] * x[0] + pairs.v[2 * lane + 1] * x[1];
        }
#endif
}

}  // namespace
}  // namespace sterna

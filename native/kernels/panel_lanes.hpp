// The vectors of panels (panels.hpp): sixteen 32-bit lanes, one for each row of a panel, on the widest registers of the
// ISA. A lane holds a number, or a pair of 16-bit codes. Integer results are exact; float results are rounded product
// by product and sum by sum, so every ISA gives the same bits. Internal linkage: compiled once per ISA.
#pragma once

#include "panels.hpp"

namespace sterna {
namespace {

#if defined(__AVX512F__)
constexpr int kPanelWidth = 16;
#else
constexpr int kPanelWidth = kWidth;
#endif
constexpr int kPanelRegisters = kPanelRows / kPanelWidth;

typedef float RowVec __attribute__((vector_size(kPanelWidth * 4)));
typedef std::int32_t RowInts __attribute__((vector_size(kPanelWidth * 4)));
typedef std::int16_t PairVec __attribute__((vector_size(kPanelWidth * 4)));
typedef std::uint16_t FieldVec __attribute__((vector_size(kPanelWidth * 4)));

// Sums of products of pairs; on ARM the products of the first and of the second number of a pair lie apart.
#if defined(__ARM_NEON)
struct PairSum {
    int32x4_t first, second;
};
inline PairSum no_pairs() {
    return {vdupq_n_s32(0), vdupq_n_s32(0)};
}
inline RowInts total(const PairSum& sum) {
    return reinterpret_cast<RowInts>(vpaddq_s32(sum.first, sum.second));
}
#else
typedef RowInts PairSum;
inline PairSum no_pairs() {
    return PairSum{};
}
inline RowInts total(const PairSum& sum) {
    return sum;
}
#endif

// Two adjacent activations, for all lanes.
typedef RowInts PairOfAll;
inline PairOfAll pair_of_all(const std::int16_t* x) {
    std::int32_t both;
    std::memcpy(&both, x, sizeof(both));
    return PairOfAll{} + both;
}

// sum += codes[0] * x[0] + codes[1] * x[1] in every lane. In assembly where gcc 12 copies and spills sums that go
// through the intrinsics.
inline void add_pairs(PairSum& sum, const PairVec& codes, const PairOfAll& x) {
#if defined(__AVX512VNNI__)
    asm("vpdpwssd %2, %1, %0" : "+v"(sum) : "v"(codes), "v"(x));
#elif defined(__AVXVNNI__)
    asm("%{vex%} vpdpwssd %2, %1, %0" : "+x"(sum) : "x"(codes), "x"(x));
#elif defined(__AVX2__)
    sum += reinterpret_cast<RowInts>(_mm256_madd_epi16(reinterpret_cast<__m256i>(codes), reinterpret_cast<__m256i>(x)));
#elif defined(__ARM_NEON)
    const auto a = reinterpret_cast<int16x8_t>(codes), b = reinterpret_cast<int16x8_t>(x);
    sum.first = vmlal_s16(sum.first, vget_low_s16(a), vget_low_s16(b));
    sum.second = vmlal_high_s16(sum.second, a, b);
#endif
}

// The number in a table for each 16-bit field, which has its place 0..15 in bits 8..11 and zeros elsewhere.
inline PairVec look_up(const std::int8_t* table, const FieldVec& places) {
#if defined(__AVX512BW__)
    const __m512i all = _mm512_maskz_broadcast_i32x4(0xffff, _mm_load_si128(reinterpret_cast<const __m128i*>(table)));
    return reinterpret_cast<PairVec>(_mm512_shuffle_epi8(all, reinterpret_cast<__m512i>(places))) >> 8;
#elif defined(__AVX2__)
    const __m256i all = _mm256_broadcastsi128_si256(_mm_load_si128(reinterpret_cast<const __m128i*>(table)));
    return reinterpret_cast<PairVec>(_mm256_shuffle_epi8(all, reinterpret_cast<__m256i>(places))) >> 8;
#elif defined(__ARM_NEON)
    return reinterpret_cast<PairVec>(vqtbl1q_s8(vld1q_s8(table), reinterpret_cast<uint8x16_t>(places))) >> 8;
#endif
}

inline RowVec load_rows(const float* p) {
    RowVec v;
    std::memcpy(&v, p, sizeof(v));
    return v;
}

inline RowVec rows_of_halfs(const std::uint8_t* p) {
#if defined(__AVX512F__)
    const __m256i halfs = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
    return reinterpret_cast<RowVec>(_mm512_maskz_cvtph_ps(0xffff, halfs));  // gcc 12 warns of the form without a mask
#elif defined(__F16C__)
    return reinterpret_cast<RowVec>(_mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
#elif defined(__ARM_NEON)
    std::uint64_t halfs;
    std::memcpy(&halfs, p, sizeof(halfs));
    return reinterpret_cast<RowVec>(vcvt_f32_f16(vreinterpret_f16_u64(vcreate_u64(halfs))));
#endif
}

inline RowVec to_float(const RowInts& v) {
    return __builtin_convertvector(v, RowVec);
}

inline RowInts rows_of_int8(const std::uint8_t* p) {
    typedef std::int8_t Bytes __attribute__((vector_size(kPanelWidth)));
    Bytes bytes;
    std::memcpy(&bytes, p, sizeof(bytes));
    return __builtin_convertvector(bytes, RowInts);
}

}  // namespace
}  // namespace sterna

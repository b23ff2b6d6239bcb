// The vectors of panels (panels.hpp): sixteen 32-bit lanes, one for each row of a panel, on the widest registers of the
// ISA. A lane holds a number, two of 16 bits, or four codes as bytes. Internal linkage: compiled once per ISA.
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
typedef std::uint16_t FieldVec __attribute__((vector_size(kPanelWidth * 4)));
typedef std::int16_t PairVec __attribute__((vector_size(kPanelWidth * 4)));
typedef std::uint8_t CodeVec __attribute__((vector_size(kPanelWidth * 4)));

// The byte of a table for each byte of `places`, 0..15.
inline CodeVec look_up(const std::uint8_t* table, const CodeVec& places) {
#if defined(__AVX512BW__)
    const __m512i all = _mm512_maskz_broadcast_i32x4(0xffff, _mm_load_si128(reinterpret_cast<const __m128i*>(table)));
    return reinterpret_cast<CodeVec>(_mm512_shuffle_epi8(all, reinterpret_cast<__m512i>(places)));
#elif defined(__AVX2__)
    const __m256i all = _mm256_broadcastsi128_si256(_mm_load_si128(reinterpret_cast<const __m128i*>(table)));
    return reinterpret_cast<CodeVec>(_mm256_shuffle_epi8(all, reinterpret_cast<__m256i>(places)));
#elif defined(__ARM_NEON)
    return reinterpret_cast<CodeVec>(vqtbl1q_u8(vld1q_u8(table), reinterpret_cast<uint8x16_t>(places)));
#endif
}

#if defined(__AVX2__)
// Bytes 2 Half and 2 Half + 1 of each lane, with zeros above each.
template <int Half>
inline PairVec pair_of(const CodeVec& codes) {
    constexpr int kBytes = static_cast<int>(0x80018000) + 0x00020002 * Half;
    const __m128i places = _mm_setr_epi32(kBytes, kBytes + 0x00040004, kBytes + 0x00080008, kBytes + 0x000c000c);
#if defined(__AVX512F__)
    const __m512i all = _mm512_maskz_broadcast_i32x4(0xffff, places);
    return reinterpret_cast<PairVec>(_mm512_shuffle_epi8(reinterpret_cast<__m512i>(codes), all));
#else
    const __m256i all = _mm256_broadcastsi128_si256(places);
    return reinterpret_cast<PairVec>(_mm256_shuffle_epi8(reinterpret_cast<__m256i>(codes), all));
#endif
}
#endif

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

// A whole number in all lanes.
inline RowInts ints_of_all(float x) {
#if defined(__AVX512F__)
    return reinterpret_cast<RowInts>(_mm512_maskz_cvtps_epi32(0xffff, _mm512_set1_ps(x)));
#elif defined(__AVX2__)
    return reinterpret_cast<RowInts>(_mm256_cvtps_epi32(_mm256_set1_ps(x)));
#elif defined(__ARM_NEON)
    return reinterpret_cast<RowInts>(vdupq_n_s32(static_cast<std::int32_t>(x)));
#endif
}

inline RowVec to_float(const RowInts& v) {
    return __builtin_convertvector(v, RowVec);
}

// By intrinsics, because gcc 12 converts the bytes of a vector one by one.
inline RowInts rows_of_int8(const std::uint8_t* p) {
#if defined(__AVX512F__)
    const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
    return reinterpret_cast<RowInts>(_mm512_maskz_cvtepi8_epi32(0xffff, bytes));
#elif defined(__AVX2__)
    return reinterpret_cast<RowInts>(_mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))));
#elif defined(__ARM_NEON)
    std::int32_t bytes;
    std::memcpy(&bytes, p, sizeof(bytes));
    const int16x8_t wide = vmovl_s8(vreinterpret_s8_s32(vdup_n_s32(bytes)));
    return reinterpret_cast<RowInts>(vmovl_s16(vget_low_s16(wide)));
#endif
}

// a - b * x, rounded once.
inline RowVec minus_product(const RowVec& a, float b, float x) {
#if defined(__AVX512F__)
    return reinterpret_cast<RowVec>(
        _mm512_fnmadd_ps(_mm512_set1_ps(b), _mm512_set1_ps(x), reinterpret_cast<__m512>(a)));
#elif defined(__FMA__)
    return reinterpret_cast<RowVec>(
        _mm256_fnmadd_ps(_mm256_set1_ps(b), _mm256_set1_ps(x), reinterpret_cast<__m256>(a)));
#elif defined(__ARM_NEON)
    return reinterpret_cast<RowVec>(vfmsq_n_f32(reinterpret_cast<float32x4_t>(a), vdupq_n_f32(b), x));
#endif
}

}  // namespace
}  // namespace sterna

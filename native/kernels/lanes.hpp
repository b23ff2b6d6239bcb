// Sixteen virtual float lanes on whatever registers the ISA of this translation unit has. Sums over lanes are folded in
// one fixed order, and products and sums are rounded separately except where `fma` is written, so the same source gives
// the same bits on every ISA. Internal linkage throughout: this header is compiled once per ISA.
#pragma once

#include <cstdint>
#include <cstring>

#if defined(__F16C__)
#include <immintrin.h>
#elif defined(__ARM_NEON)
#include <arm_neon.h>
#endif

namespace sterna {
namespace {

#if defined(__AVX512F__)
constexpr int kWidth = 16;
#elif defined(__AVX2__)
constexpr int kWidth = 8;
#else
constexpr int kWidth = 4;
#endif
constexpr int kLanes = 16;
constexpr int kRegisters = kLanes / kWidth;

typedef float Vec __attribute__((vector_size(kWidth * 4)));
typedef std::int32_t IntVec __attribute__((vector_size(kWidth * 4)));

struct Lanes {
    Vec v[kRegisters];
};

inline Lanes load(const float* p) {
    Lanes r;
    for (int i = 0; i < kRegisters; ++i) std::memcpy(&r.v[i], p + i * kWidth, sizeof(Vec));
    return r;
}

// The first n of sixteen numbers, then zeros.
inline Lanes load_part(const float* p, std::size_t n) {
    if (n >= kLanes) return load(p);
    float part[kLanes] = {};
    std::memcpy(part, p, n * sizeof(float));
    return load(part);
}

inline void store(float* p, const Lanes& a) {
    for (int i = 0; i < kRegisters; ++i) std::memcpy(p + i * kWidth, &a.v[i], sizeof(Vec));
}

inline Lanes splat(float x) {
    Lanes r;
#if defined(__AVX512F__)
    const Vec all = reinterpret_cast<Vec>(_mm512_set1_ps(x));
#elif defined(__AVX2__)
    const Vec all = {x, x, x, x, x, x, x, x};
#else
    const Vec all = {x, x, x, x};
#endif
    for (int i = 0; i < kRegisters; ++i) r.v[i] = all;
    return r;
}

inline Lanes operator+(const Lanes& a, const Lanes& b) {
    Lanes r;
    for (int i = 0; i < kRegisters; ++i) r.v[i] = a.v[i] + b.v[i];
    return r;
}

inline Lanes operator-(const Lanes& a, const Lanes& b) {
    Lanes r;
    for (int i = 0; i < kRegisters; ++i) r.v[i] = a.v[i] - b.v[i];
    return r;
}

inline Lanes operator*(const Lanes& a, const Lanes& b) {
    Lanes r;
    for (int i = 0; i < kRegisters; ++i) r.v[i] = a.v[i] * b.v[i];
    return r;
}

inline Lanes operator/(const Lanes& a, const Lanes& b) {
    Lanes r;
    for (int i = 0; i < kRegisters; ++i) r.v[i] = a.v[i] / b.v[i];
    return r;
}

typedef float HalfVec __attribute__((vector_size(kWidth * 2)));
typedef double DoubleVec __attribute__((vector_size(kWidth * 4)));
typedef std::int64_t LongVec __attribute__((vector_size(kWidth * 4)));

#if !defined(__FMA__) && !defined(__ARM_NEON)
// a * b + c, rounded once. The product is exact in double precision; the sum is rounded to odd there, so that rounding
// it to float32 gives the same as rounding once (Boldo, Melquiond: Emulation of FMA and correctly rounded sums, 2008).
inline HalfVec fma_emulated(const HalfVec& a, const HalfVec& b, const HalfVec& c) {
    const DoubleVec product = __builtin_convertvector(a, DoubleVec) * __builtin_convertvector(b, DoubleVec);
    const DoubleVec addend = __builtin_convertvector(c, DoubleVec);
    const DoubleVec sum = product + addend, part = sum - product;
    const DoubleVec error = (product - (sum - part)) + (addend - part);
    const LongVec inexact = (error > 0.0) | (error < 0.0), outward = (error > 0.0) == (sum > 0.0);
    LongVec bits;
    std::memcpy(&bits, &sum, sizeof(bits));
    const LongVec even = (bits & 1) - 1;           // all ones where the last bit is 0
    bits += inexact & even & ((outward & 2) - 1);  // to the odd neighbour on the error's side
    DoubleVec odd;
    std::memcpy(&odd, &bits, sizeof(odd));
    return __builtin_convertvector(odd, HalfVec);
}
#endif

// a * b + c, rounded once.
inline Lanes fma(const Lanes& a, const Lanes& b, const Lanes& c) {
    Lanes r;
    for (int i = 0; i < kRegisters; ++i) {
#if defined(__AVX512F__)
        r.v[i] = reinterpret_cast<Vec>(_mm512_fmadd_ps(
            reinterpret_cast<__m512>(a.v[i]), reinterpret_cast<__m512>(b.v[i]), reinterpret_cast<__m512>(c.v[i])));
#elif defined(__FMA__)
        r.v[i] = reinterpret_cast<Vec>(_mm256_fmadd_ps(
            reinterpret_cast<__m256>(a.v[i]), reinterpret_cast<__m256>(b.v[i]), reinterpret_cast<__m256>(c.v[i])));
#elif defined(__ARM_NEON)
        r.v[i] = vfmaq_f32(c.v[i], a.v[i], b.v[i]);
#else
        HalfVec parts[2][3];
        const Vec* sources[3] = {&a.v[i], &b.v[i], &c.v[i]};
        for (int s = 0; s < 3; ++s)
            for (int h = 0; h < 2; ++h)
                std::memcpy(&parts[h][s], reinterpret_cast<const char*>(sources[s]) + h * sizeof(HalfVec),
                            sizeof(HalfVec));
        for (int h = 0; h < 2; ++h) {
            const HalfVec half = fma_emulated(parts[h][0], parts[h][1], parts[h][2]);
            std::memcpy(reinterpret_cast<char*>(&r.v[i]) + h * sizeof(HalfVec), &half, sizeof(HalfVec));
        }
#endif
    }
    return r;
}

inline Lanes max(const Lanes& a, const Lanes& b) {
    Lanes r;
    for (int i = 0; i < kRegisters; ++i) r.v[i] = a.v[i] > b.v[i] ? a.v[i] : b.v[i];
    return r;
}

inline Lanes min(const Lanes& a, const Lanes& b) {
    Lanes r;
    for (int i = 0; i < kRegisters; ++i) r.v[i] = a.v[i] < b.v[i] ? a.v[i] : b.v[i];
    return r;
}

inline Lanes abs(const Lanes& a) {
    return max(a, splat(0.0f) - a);
}

// Folds lanes i and i + 8, then i + 4, i + 2, i + 1.
template <class Combine>
inline float fold_lanes(const Lanes& a, const Combine& combine) {
    Lanes r = a;
    for (int n = kRegisters / 2; n > 0; n /= 2)
        for (int i = 0; i < n; ++i) r.v[i] = combine(r.v[i], r.v[i + n]);
    HalfVec half[2];
    std::memcpy(half, &r.v[0], sizeof(half));
    half[0] = combine(half[0], half[1]);
    float s[kWidth / 2];
    std::memcpy(s, &half[0], sizeof(s));
    for (int w = kWidth / 4; w > 0; w /= 2)
        for (int i = 0; i < w; ++i) s[i] = combine(s[i], s[i + w]);
    return s[0];
}

inline float sum(const Lanes& a) {
    return fold_lanes(a, [](auto x, auto y) { return x + y; });
}

inline float max_of(const Lanes& a) {
    return fold_lanes(a, [](auto x, auto y) { return x > y ? x : y; });
}

// Sum of x[k]^2 in double precision, in which every square is exact; n is a multiple of 16.
inline double sum_of_squares(const float* x, std::size_t n) {
    DoubleVec acc[2 * kRegisters] = {};
    for (std::size_t k = 0; k < n; k += kLanes)
        for (int i = 0; i < 2 * kRegisters; ++i) {
            HalfVec part;
            std::memcpy(&part, x + k + static_cast<std::size_t>(i * kWidth / 2), sizeof(part));
            const DoubleVec wide = __builtin_convertvector(part, DoubleVec);
            acc[i] += wide * wide;
        }
    double s[kLanes];
    std::memcpy(s, acc, sizeof(s));
    for (int w = kLanes / 2; w > 0; w /= 2)
        for (int i = 0; i < w; ++i) s[i] += s[i + w];
    return s[0];
}

// Round to nearest even for |x| < 2^22: adding 1.5 * 2^23 pushes the fraction out of the mantissa.
constexpr float kRoundMagic = 12582912.0f;

inline Lanes round_even(const Lanes& a) {
    return (a + splat(kRoundMagic)) - splat(kRoundMagic);
}

// e^x to about 2 ulp for x in [-87, 88]; arguments outside are clamped. Range reduction by ln 2 in two parts, then a
// polynomial of degree 6 (Taylor coefficients suffice on |r| <= 0.35).
inline Lanes exp(const Lanes& x) {
    const Lanes clamped = min(max(x, splat(-87.0f)), splat(88.0f));
    const Lanes n = round_even(clamped * splat(1.44269504f));
    const Lanes r = fma(n, splat(2.12194440e-4f), fma(n, splat(-0.693359375f), clamped));
    Lanes p = splat(1.0f / 5040.0f);
    const float coefficients[] = {1.0f / 720.0f, 1.0f / 120.0f, 1.0f / 24.0f, 1.0f / 6.0f, 0.5f, 1.0f, 1.0f};
    for (const float c : coefficients) p = fma(p, r, splat(c));
    Lanes power;
    for (int i = 0; i < kRegisters; ++i) {
        const IntVec bits = (__builtin_convertvector(n.v[i], IntVec) + 127) << 23;
        std::memcpy(&power.v[i], &bits, sizeof(Vec));
    }
    return p * power;
}

#if defined(__AVX512F__)
inline __m256i to_int16(const Lanes& a) {
    return _mm512_cvtsepi32_epi16(_mm512_cvtps_epi32(reinterpret_cast<__m512>(a.v[0])));
}
#elif defined(__AVX2__)
inline __m256i to_int16(const Lanes& a) {
    const __m256i words = _mm256_packs_epi32(_mm256_cvtps_epi32(reinterpret_cast<__m256>(a.v[0])),
                                             _mm256_cvtps_epi32(reinterpret_cast<__m256>(a.v[1])));
    return _mm256_permute4x64_epi64(words, 0xd8);  // packs works on each 128-bit half
}
#endif

// Stores whole numbers from -32768 to 32767.
inline void store_int16(std::int16_t* p, const Lanes& a) {
#if defined(__AVX2__)
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), to_int16(a));
#else
    for (int i = 0; i < kRegisters; ++i)
        for (int j = 0; j < kWidth; ++j) p[i * kWidth + j] = static_cast<std::int16_t>(a.v[i][j]);
#endif
}

// Stores whole numbers from -128 to 127.
inline void store_int8(std::int8_t* p, const Lanes& a) {
#if defined(__AVX2__)
    const __m256i words = to_int16(a);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p),
                     _mm_packs_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1)));
#else
    for (int i = 0; i < kRegisters; ++i)
        for (int j = 0; j < kWidth; ++j) p[i * kWidth + j] = static_cast<std::int8_t>(a.v[i][j]);
#endif
}

inline float half_to_float(std::uint16_t h) {
#if defined(__F16C__)
    return _cvtsh_ss(h);
#else
    const std::uint32_t sign = static_cast<std::uint32_t>(h & 0x8000u) << 16;
    const std::uint32_t rest = h & 0x7fffu;
    std::uint32_t bits;
    if (rest < 0x400u) {  // subnormal: a small integer times 2^-24; float32 subnormals, which are slow, never arise
        const float magnitude = static_cast<float>(static_cast<std::int32_t>(rest)) * 0x1p-24f;
        std::memcpy(&bits, &magnitude, 4);
    } else if (rest < 0x7c00u) {
        bits = (rest << 13) + 0x38000000u;
    } else {  // infinity, NaN
        bits = 0x7f800000u | ((rest & 0x3ffu) << 13) | (rest > 0x7c00u ? 0x400000u : 0u);
    }
    bits |= sign;
    float f;
    std::memcpy(&f, &bits, 4);
    return f;
#endif
}

inline std::uint16_t float_to_half(float f) {
    std::uint32_t bits;
    std::memcpy(&bits, &f, 4);
    const std::uint16_t sign = static_cast<std::uint16_t>((bits >> 16) & 0x8000u);
    bits &= 0x7fffffffu;
    if (bits > 0x7f800000u) return static_cast<std::uint16_t>(sign | 0x7e00u | ((bits >> 13) & 0x1ffu));
    if (bits >= 0x477ff000u) return static_cast<std::uint16_t>(sign | 0x7c00u);  // rounds past 65504
    if (bits < 0x38800000u) {  // subnormal half: let the FPU round at 2^-24
        float magnitude;
        std::memcpy(&magnitude, &bits, 4);
        magnitude += 0.5f;
        std::uint32_t rounded;
        std::memcpy(&rounded, &magnitude, 4);
        return static_cast<std::uint16_t>(sign | (rounded - 0x3f000000u));
    }
    const std::uint32_t odd = (bits >> 13) & 1u;
    return static_cast<std::uint16_t>(sign | ((bits - 0x38000000u + 0xfffu + odd) >> 13));
}

inline Lanes load_half(const std::uint16_t* p) {
    Lanes r;
#if defined(__AVX512F__)
    r.v[0] = reinterpret_cast<Vec>(_mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))));
#elif defined(__F16C__)
    for (int i = 0; i < kRegisters; ++i)
        r.v[i] =
            reinterpret_cast<Vec>(_mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p + i * kWidth))));
#elif defined(__ARM_NEON)
    for (int i = 0; i < kRegisters; ++i) r.v[i] = vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p + i * kWidth)));
#else
    for (int i = 0; i < kRegisters; ++i)
        for (int j = 0; j < kWidth; ++j) r.v[i][j] = half_to_float(p[i * kWidth + j]);
#endif
    return r;
}

// out[0..4) = the four float16 numbers in a word, the first in its low bits.
inline void store_halfs(float* out, std::uint64_t halfs) {
#if defined(__F16C__)
    _mm_storeu_ps(out, _mm_cvtph_ps(_mm_cvtsi64_si128(static_cast<long long>(halfs))));
#elif defined(__ARM_NEON)
    vst1q_f32(out, vcvt_f32_f16(vreinterpret_f16_u64(vcreate_u64(halfs))));
#else
    for (int i = 0; i < 4; ++i) out[i] = half_to_float(static_cast<std::uint16_t>(halfs >> (16 * i)));
#endif
}

inline void store_half(std::uint16_t* p, const Lanes& a) {
#if defined(__AVX512F__)
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p),
                        _mm512_cvtps_ph(reinterpret_cast<__m512>(a.v[0]), _MM_FROUND_TO_NEAREST_INT));
#elif defined(__F16C__)
    for (int i = 0; i < kRegisters; ++i)
        _mm_storeu_si128(reinterpret_cast<__m128i*>(p + i * kWidth),
                         _mm256_cvtps_ph(reinterpret_cast<__m256>(a.v[i]), _MM_FROUND_TO_NEAREST_INT));
#elif defined(__ARM_NEON)
    for (int i = 0; i < kRegisters; ++i) vst1_u16(p + i * kWidth, vreinterpret_u16_f16(vcvt_f16_f32(a.v[i])));
#else
    for (int i = 0; i < kRegisters; ++i)
        for (int j = 0; j < kWidth; ++j) p[i * kWidth + j] = float_to_half(a.v[i][j]);
#endif
}

}  // namespace
}  // namespace sterna

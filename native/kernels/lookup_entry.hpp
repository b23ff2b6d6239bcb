// An entry of a lookup table (ternary_lookup.hpp): 32 sums of 16 bits, in one register of 512 bits or two of 256.
#pragma once

#include <immintrin.h>

#include "kernels.hpp"

namespace sterna {
namespace {

struct Entry {
#if defined(__AVX512BW__)
    using Vec = __m512i;
    static Vec load(const void* p) {
        return _mm512_load_si512(p);
    }
    static void store(void* p, Vec v) {
        _mm512_store_si512(p, v);
    }
    static Vec plus(Vec a, Vec b) {
        return _mm512_add_epi16(a, b);
    }
    static Vec minus(Vec a, Vec b) {
        return _mm512_sub_epi16(a, b);
    }
#else
    using Vec = __m256i;
    static Vec load(const void* p) {
        return _mm256_load_si256(static_cast<const Vec*>(p));
    }
    static void store(void* p, Vec v) {
        _mm256_store_si256(static_cast<Vec*>(p), v);
    }
    static Vec plus(Vec a, Vec b) {
        return _mm256_add_epi16(a, b);
    }
    static Vec minus(Vec a, Vec b) {
        return _mm256_sub_epi16(a, b);
    }
#endif
    static constexpr std::size_t kBytes = 2 * kLookupGroup, kVecs = kBytes / sizeof(Vec);

    Vec v[kVecs] = {};

    static Entry at(const void* p) {
        Entry e;
        for (std::size_t i = 0; i < kVecs; ++i) e.v[i] = load(static_cast<const Vec*>(p) + i);
        return e;
    }
    void store_at(void* p) const {
        for (std::size_t i = 0; i < kVecs; ++i) store(static_cast<Vec*>(p) + i, v[i]);
    }
    friend Entry operator+(Entry a, const Entry& b) {
        for (std::size_t i = 0; i < kVecs; ++i) a.v[i] = plus(a.v[i], b.v[i]);
        return a;
    }
    friend Entry operator-(Entry a, const Entry& b) {
        for (std::size_t i = 0; i < kVecs; ++i) a.v[i] = minus(a.v[i], b.v[i]);
        return a;
    }

    // Adds the entry that begins `kAt + offset` bytes after `tables`, which has kSize bytes. In assembly, because gcc
    // would first compute the address of an entry, one more instruction for every addition or two.
    template <std::size_t kAt, std::size_t kSize>
    void add_from(const std::uint8_t* tables, std::size_t offset) {
        const auto& read = *reinterpret_cast<const std::uint8_t(*)[kSize]>(tables);
#if defined(__AVX512BW__)
        asm("vpaddw %c[at](%[tables],%[offset]), %[sum], %[sum]"
            : [sum] "+v"(v[0])
            : [tables] "r"(tables), [offset] "r"(offset), [at] "i"(kAt), "m"(read));
#else
        asm("vpaddw %c[at](%[tables],%[offset]), %[low], %[low]\n\t"
            "vpaddw %c[next](%[tables],%[offset]), %[high], %[high]"
            : [low] "+x"(v[0]), [high] "+x"(v[1])
            : [tables] "r"(tables), [offset] "r"(offset), [at] "i"(kAt), [next] "i"(kAt + sizeof(Vec)), "m"(read));
#endif
    }

    // totals[0, 32) = the sums, or += the sums.
    template <bool kAdd>
    void widen(std::int32_t* totals) const {
#if defined(__AVX512BW__)
        // Masks of ones: gcc 12 warns of the plain intrinsics, which leave their unused operand undefined.
        const Vec wide[] = {_mm512_maskz_cvtepi16_epi32(0xffff, _mm512_maskz_extracti64x4_epi64(0xff, v[0], 0)),
                            _mm512_maskz_cvtepi16_epi32(0xffff, _mm512_maskz_extracti64x4_epi64(0xff, v[0], 1))};
        const auto add = [](Vec a, Vec b) { return _mm512_add_epi32(a, b); };
#else
        const Vec wide[] = {_mm256_cvtepi16_epi32(_mm256_castsi256_si128(v[0])),
                            _mm256_cvtepi16_epi32(_mm256_extracti128_si256(v[0], 1)),
                            _mm256_cvtepi16_epi32(_mm256_castsi256_si128(v[1])),
                            _mm256_cvtepi16_epi32(_mm256_extracti128_si256(v[1], 1))};
        const auto add = [](Vec a, Vec b) { return _mm256_add_epi32(a, b); };
#endif
        for (const Vec& w : wide) {
            store(totals, kAdd ? add(load(totals), w) : w);
            totals += sizeof(Vec) / 4;
        }
    }
};

}  // namespace
}  // namespace sterna

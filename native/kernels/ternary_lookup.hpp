// Ternary dot products of many tokens by vector lookup tables, with AVX2 (the idea of arXiv 2512.06443).
//
// A table holds all 81 sums of four columns, each for 32 tokens in 16 bits. A row looks up the sum of its four codes:
// two loads and adds replace 128 multiply-adds. The four columns are those of one I2_S byte (b, b + 32, b + 64 and
// b + 96 of its block), so two shuffles turn a byte into the number of an entry, 0..80, and the file's bytes are used
// as they are stored.
//
// Loops, from the outermost: strips of 64 bytes of each row, whose entry numbers are computed once and stay in L2 >
// groups of 32 tokens > eight tables, which stay in L1 > rows. A row's sums stay in registers for eight tables, and in
// 16 bits for seven times eight.
#pragma once

#include <immintrin.h>

#include <utility>

#include "ternary_x86.hpp"

namespace sterna {
namespace {

class Lookup {
public:
    static void dot(const TernaryTask& task, std::uint8_t* scratch) {
        const auto& [rows, scale, x, n_tokens, cols, out] = task;
        const Lookup lookup(scratch, (rows.count + 7) / 8 * 8);
        const std::size_t n_groups = cols / 4;  // of four columns; a multiple of 32
        for (std::size_t first = 0; first < n_groups; first += kStrip) {
            const std::size_t count = smaller(kStrip, n_groups - first);
            lookup.number_entries({rows.data + first, rows.stride, rows.count}, count);
            for (std::size_t t = 0; t < n_tokens; t += kLookupGroup) {
                lookup.transpose(x.codes + t * x.stride + 4 * first, x.stride, 4 * count);
                for (std::size_t i = 0; i < count; i += kAtOnce) lookup.add(t, first + i, i, n_groups);
            }
        }
        for (std::size_t t = 0; t < n_tokens; t += 8)
            lookup.write(t, rows.count, scale, x.scales + t, {out.data + t * out.stride, out.stride});
    }

private:
    using Number = std::uint16_t;  // the number of an entry, as its offset in bytes
    static constexpr std::size_t kStrip = 64, kAtOnce = 8, kEntryBytes = 2 * kLookupGroup;
    static constexpr std::size_t kTableBytes = 81 * kEntryBytes;
    // A sum of four columns is at most 512 in magnitude: 56 of them are 28672 < 32767.
    static constexpr std::size_t kGroupsPer16Bit = 56;
    static_assert(kLookupScratch >= 4 * kStrip * kLookupGroup * 2 + kAtOnce * kTableBytes +
                                        kLookupRows * (kStrip * sizeof(Number) + kLookupTokens * (2 + 4)));
    static_assert(kLookupRows % 8 == 0 && kGroupsPer16Bit % kAtOnce == 0);

    Lookup(std::uint8_t* scratch, std::size_t rows) : rows_(rows) {
        const auto take = [&](std::size_t bytes) {
            std::uint8_t* taken = scratch;
            scratch += bytes;
            return taken;
        };
        entries_ = take(kAtOnce * kTableBytes);
        x_ = reinterpret_cast<std::int16_t*>(take(4 * kStrip * kLookupGroup * 2));
        numbers_ = reinterpret_cast<Number*>(take(kLookupRows * kStrip * sizeof(Number)));
        sums_ = reinterpret_cast<std::int16_t*>(take(kLookupRows * kLookupTokens * 2));
        totals_ = reinterpret_cast<std::int32_t*>(take(kLookupRows * kLookupTokens * 4));
    }

    static __m256i load(const void* p) { return _mm256_load_si256(static_cast<const __m256i*>(p)); }
    static void store(void* p, __m256i v) { _mm256_store_si256(static_cast<__m256i*>(p), v); }

    // Fills numbers_[i / 8][row][i % 8] for bytes i of every row: codes c0 c1 c2 c3 make 27 c0 + 9 c1 + 3 c2 + c3. The
    // code 3, which does not occur, counts as 0.
    void number_entries(const Rows& packed, std::size_t count) const {
        const __m256i nibble = _mm256_set1_epi8(15);
        const __m256i low = _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 1, 2, 0, 3, 4, 5, 0, 6, 7, 8, 0, 0, 0, 0, 0));
        const __m256i high =
            _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 9, 18, 0, 27, 36, 45, 0, 54, 63, 72, 0, 0, 0, 0, 0));
        for (std::size_t r = 0; r < rows_; ++r) {
            const std::uint8_t* row = packed.data + smaller(r, packed.count - 1) * packed.stride;
            // A strip may begin in the middle of a cache line: both lines are fetched.
            _mm_prefetch(reinterpret_cast<const char*>(row + 16 * packed.stride), _MM_HINT_T0);
            _mm_prefetch(reinterpret_cast<const char*>(row + 16 * packed.stride + kStrip - 1), _MM_HINT_T0);
            for (std::size_t i = 0; i < count; i += 32) {
                const __m256i w = load256(row + i);
                const __m256i number =
                    _mm256_add_epi8(_mm256_shuffle_epi8(low, _mm256_and_si256(w, nibble)),
                                    _mm256_shuffle_epi8(high, _mm256_and_si256(_mm256_srli_epi16(w, 4), nibble)));
                const __m128i quarters[4] = {_mm256_castsi256_si128(number),
                                             _mm_unpackhi_epi64(_mm256_castsi256_si128(number), __m128i{}),
                                             _mm256_extracti128_si256(number, 1),
                                             _mm_unpackhi_epi64(_mm256_extracti128_si256(number, 1), __m128i{})};
                for (std::size_t q = 0; q < 4; ++q)
                    _mm_store_si128(reinterpret_cast<__m128i*>(numbers_ + ((i / 8 + q) * rows_ + r) * kAtOnce),
                                    _mm_slli_epi16(_mm_cvtepu8_epi16(quarters[q]), 6));
            }
        }
    }

    // Fills x_[column][token] for a group of tokens.
    void transpose(const std::int8_t* x, std::size_t x_stride, std::size_t n_columns) const {
        for (std::size_t t = 0; t < kLookupGroup; t += 16)
            for (std::size_t k = 0; k < n_columns; k += 16) {
                __m128i a[16], b[16];
                for (std::size_t i = 0; i < 16; ++i)
                    a[i] = _mm_loadu_si128(reinterpret_cast<const __m128i*>(x + (t + i) * x_stride + k));
                for (int round = 0; round < 4; ++round) {  // interleaving the halves four times transposes
                    for (int i = 0; i < 8; ++i) {
                        b[2 * i] = _mm_unpacklo_epi8(a[i], a[i + 8]);
                        b[2 * i + 1] = _mm_unpackhi_epi8(a[i], a[i + 8]);
                    }
                    for (int i = 0; i < 16; ++i) a[i] = b[i];
                }
                for (std::size_t i = 0; i < 16; ++i) store(x_ + (k + i) * kLookupGroup + t, _mm256_cvtepi8_epi16(a[i]));
            }
    }

    // Writes all sums of the columns from kLevel on. Each column's code counts from -1 to 1, that of the last column
    // fastest.
    template <int kLevel>
    static void fill(const __m256i (&x)[4][2], __m256i v0, __m256i v1, std::uint8_t*& out) {
        for (int code = 0; code < 3; ++code) {
            if constexpr (kLevel == 3) {
                store(out, v0);
                store(out + 32, v1);
                out += kEntryBytes;
            } else {
                fill<kLevel + 1>(x, v0, v1, out);
            }
            v0 = _mm256_add_epi16(v0, x[kLevel][0]);
            v1 = _mm256_add_epi16(v1, x[kLevel][1]);
        }
    }

    // Fills the tables of eight groups, which belong to bytes at .. at + 7 of the strip.
    void build(std::size_t at) const {
        std::uint8_t* out = entries_;
        for (std::size_t i = at; i < at + kAtOnce; ++i) {
            __m256i x[4][2], least[2] = {};
            for (std::size_t quarter = 0; quarter < 4; ++quarter)
                for (std::size_t half = 0; half < 2; ++half) {
                    x[quarter][half] = load(x_ + (i / 32 * 128 + i % 32 + 32 * quarter) * kLookupGroup + 16 * half);
                    least[half] = _mm256_sub_epi16(least[half], x[quarter][half]);
                }
            fill<0>(x, least[0], least[1], out);
        }
    }

    // In assembly, because gcc would first compute the address of an entry, one more instruction for every two
    // additions.
    template <std::size_t I>
    static void add_entry(__m256i& low, __m256i& high, const std::uint8_t* entries, std::size_t number) {
        asm("vpaddw %c[first](%[entries],%[number]), %[low], %[low]\n\t"
            "vpaddw %c[second](%[entries],%[number]), %[high], %[high]"
            : [low] "+x"(low), [high] "+x"(high)
            : [entries] "r"(entries), [number] "r"(number), [first] "i"(I * kTableBytes),
              [second] "i"(I * kTableBytes + 32),
              "m"(*reinterpret_cast<const std::uint8_t(*)[kAtOnce * kTableBytes]>(entries)));
    }

    // What happens to a row's 16-bit sums after eight tables: they are kept, begin its total, or are added to it.
    enum class After { keep, begin, widen };

    template <After kAfter>
    static void widen(__m128i sums, std::int32_t* totals) {
        const __m256i wide = _mm256_cvtepi16_epi32(sums);
        store(totals, kAfter == After::begin ? wide : _mm256_add_epi32(load(totals), wide));
    }

    template <bool kFresh, After kAfter>
    void add_rows(const Number* numbers, std::int16_t* sums, std::int32_t* totals) const {
        const std::uint8_t* entries = entries_;  // a local: the member would be read again after every store
        for (const Number* end = numbers + rows_ * kAtOnce; numbers != end; numbers += kAtOnce) {
            __m256i low = kFresh ? __m256i{} : load(sums), high = kFresh ? __m256i{} : load(sums + 16);
            [&]<std::size_t... I>(std::index_sequence<I...>) {
                (add_entry<I>(low, high, entries, numbers[I]), ...);
            }
            (std::make_index_sequence<kAtOnce>());
            if constexpr (kAfter == After::keep) {
                store(sums, low);
                store(sums + 16, high);
            } else {
                widen<kAfter>(_mm256_castsi256_si128(low), totals);
                widen<kAfter>(_mm256_extracti128_si256(low, 1), totals + 8);
                widen<kAfter>(_mm256_castsi256_si128(high), totals + 16);
                widen<kAfter>(_mm256_extracti128_si256(high, 1), totals + 24);
                totals += kLookupGroup;
            }
            sums += kLookupGroup;
        }
    }

    // Adds the entries of groups group .. group + 7 (bytes at .. at + 7 of the strip) for the group of tokens from
    // `token` on.
    void add(std::size_t token, std::size_t group, std::size_t at, std::size_t n_groups) const {
        build(at);
        const bool fresh = group % kGroupsPer16Bit == 0, once = group < kGroupsPer16Bit;
        const bool last = (group + kAtOnce) % kGroupsPer16Bit == 0 || group + kAtOnce == n_groups;
        const After after = !last ? After::keep : once ? After::begin : After::widen;
        const auto rows = [&](auto add_them) {
            (this->*add_them)(numbers_ + at * rows_, sums_ + token * rows_, totals_ + token * rows_);
        };
        switch (after) {
            case After::keep:
                return rows(fresh ? &Lookup::add_rows<true, After::keep> : &Lookup::add_rows<false, After::keep>);
            case After::begin:
                return rows(fresh ? &Lookup::add_rows<true, After::begin> : &Lookup::add_rows<false, After::begin>);
            case After::widen:
                return rows(fresh ? &Lookup::add_rows<true, After::widen> : &Lookup::add_rows<false, After::widen>);
        }
    }

    // Writes the totals of eight tokens, transposed and scaled.
    void write(std::size_t token, std::size_t n_rows, float scale, const float* x_scales, const Products& out) const {
        const std::int32_t* totals = totals_ + token / kLookupGroup * kLookupGroup * rows_ + token % kLookupGroup;
        for (std::size_t r = 0; r < n_rows; r += 8, totals += 8 * kLookupGroup) {
            __m256i a[8], b[8];
            for (std::size_t i = 0; i < 8; ++i) a[i] = load(totals + i * kLookupGroup);
            for (int i = 0; i < 8; i += 2) {
                b[i] = _mm256_unpacklo_epi32(a[i], a[i + 1]);
                b[i + 1] = _mm256_unpackhi_epi32(a[i], a[i + 1]);
            }
            for (int i = 0; i < 8; i += 4)
                for (int j = 0; j < 2; ++j) {
                    a[i + 2 * j] = _mm256_unpacklo_epi64(b[i + j], b[i + 2 + j]);
                    a[i + 2 * j + 1] = _mm256_unpackhi_epi64(b[i + j], b[i + 2 + j]);
                }
            for (std::size_t t = 0; t < 8; ++t) {
                const __m256i dots = t < 4 ? _mm256_permute2x128_si256(a[t], a[t + 4], 0x20)
                                           : _mm256_permute2x128_si256(a[t - 4], a[t], 0x31);
                const __m256 scaled = _mm256_mul_ps(_mm256_cvtepi32_ps(dots), _mm256_set1_ps(scale / x_scales[t]));
                float* place = out.data + t * out.stride + r;
                if (r + 8 <= n_rows) {
                    _mm256_storeu_ps(place, scaled);
                } else {
                    alignas(32) float values[8];
                    _mm256_store_ps(values, scaled);
                    std::memcpy(place, values, (n_rows - r) * sizeof(float));
                }
            }
        }
    }

    std::size_t rows_;       // rows of the tile, a multiple of 8; those past its end repeat the last row
    std::uint8_t* entries_;  // [8 tables][81][32 tokens] of int16
    std::int16_t* x_;        // [column of the strip][32 tokens]
    Number* numbers_;        // [group of the strip / 8][row][8]
    std::int16_t* sums_;     // [tokens / 32][row][32 tokens]
    std::int32_t* totals_;   // the same layout
};

}  // namespace
}  // namespace sterna

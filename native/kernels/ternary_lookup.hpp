// Ternary dot products of many tokens by vector lookup tables, with AVX2 or AVX-512 (the idea of arXiv 2512.06443).
//
// A table holds all 81 sums of four columns, each for 32 tokens in 16 bits (Entry). A row looks up the sum of its four
// codes: one load and add of 512 bits, or two of 256, replace 128 multiply-adds. The four columns are those of one byte
// of codes, so two shuffles turn a byte into the number of an entry, 0..80, and the bytes are used as they are stored.
//
// Loops, from the outermost: strips of 64 bytes of each row, whose entry numbers are computed once and stay in L2 >
// groups of 32 tokens > eight tables, which stay in L1 > rows. A row's sums stay in registers for eight tables, and in
// 16 bits for seven times eight.
#pragma once

#include <immintrin.h>

#include <utility>

#include "lookup_entry.hpp"
#include "lookup_layouts.hpp"

namespace sterna {
namespace {

template <class Layout>
class Lookup {
public:
    static void dot(const Layout& layout, std::size_t n_rows, float scale, const Int8Activations& x,
                    std::size_t n_tokens, std::size_t cols, const Products& out, std::uint8_t* scratch) {
        const Lookup lookup(scratch, (n_rows + 15) / 16 * 16);
        const std::size_t n_tables = cols / 4;  // a multiple of 32
        for (std::size_t first = 0; first < n_tables; first += kStrip) {
            const std::size_t count = smaller(kStrip, n_tables - first);
            layout.number(first, count, lookup.rows_, [&](std::size_t row, std::size_t i, __m128i numbers) {
                _mm_store_si128(reinterpret_cast<__m128i*>(lookup.numbers_ + (i * lookup.rows_ + row * kAtOnce)),
                                _mm_slli_epi16(_mm_cvtepu8_epi16(numbers), kEntryShift));
            });
            for (std::size_t t = 0; t < n_tokens; t += kLookupGroup) {
                lookup.transpose(x.codes + t * x.stride + 4 * first, x.stride, 4 * count);
                for (std::size_t i = 0; i < count; i += kAtOnce) lookup.add(t, first + i, i, n_tables);
            }
        }
        for (std::size_t t = 0; t < n_tokens; t += 8)
            lookup.write(t, n_rows, scale, x.scales + t, {out.data + t * out.stride, out.stride});
    }

private:
    using Number = std::uint16_t;  // the number of an entry, as its offset in bytes
    static constexpr std::size_t kStrip = 64, kAtOnce = 8, kEntryShift = 6;
    static constexpr std::size_t kTableBytes = 81 * Entry::kBytes;
    // A sum of four columns is at most 512 in magnitude: 56 of them are 28672 < 32767.
    static constexpr std::size_t kTablesPer16Bit = 56;
    static_assert(kLookupScratch >= 4 * kStrip * kLookupGroup * 2 + kAtOnce * kTableBytes +
                                        kLookupRows * (kStrip * sizeof(Number) + kLookupTokens * (2 + 4)));
    static_assert(kLookupRows % 16 == 0 && kTablesPer16Bit % kAtOnce == 0 && Entry::kBytes == 1 << kEntryShift);

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
    static void fill(const Entry (&x)[4], Entry sum, std::uint8_t*& out) {
        for (int code = 0; code < 3; ++code) {
            if constexpr (kLevel == 3) {
                sum.store_at(out);
                out += Entry::kBytes;
            } else {
                fill<kLevel + 1>(x, sum, out);
            }
            sum = sum + x[kLevel];
        }
    }

    // Fills tables at .. at + 7 of the strip.
    void build(std::size_t at) const {
        std::uint8_t* out = entries_;
        for (std::size_t table = at; table < at + kAtOnce; ++table) {
            Entry x[4], least;
            for (std::size_t i = 0; i < 4; ++i) {
                x[i] = Entry::at(x_ + Layout::column(table, i) * kLookupGroup);
                least = least - x[i];
            }
            fill<0>(x, least, out);
        }
    }

    // What happens to a row's 16-bit sums after eight tables: they are kept, begin its total, or are added to it.
    enum class After { keep, begin, widen };

    template <bool kFresh, After kAfter>
    void add_rows(const Number* numbers, std::int16_t* sums, std::int32_t* totals) const {
        const std::uint8_t* entries = entries_;  // a local: the member would be read again after every store
        for (const Number* end = numbers + rows_ * kAtOnce; numbers != end; numbers += kAtOnce) {
            Entry sum;
            if constexpr (!kFresh) sum = Entry::at(sums);
            [&]<std::size_t... I>(std::index_sequence<I...>) {
                (sum.add_from<I * kTableBytes, kAtOnce * kTableBytes>(entries, numbers[I]), ...);
            }
            (std::make_index_sequence<kAtOnce>());
            if constexpr (kAfter == After::keep) {
                sum.store_at(sums);
            } else {
                sum.widen<kAfter == After::widen>(totals);
                totals += kLookupGroup;
            }
            sums += kLookupGroup;
        }
    }

    // Adds the entries of tables at .. at + 7 of the strip, which are `table` .. table + 7 of all, for the group of
    // tokens from `token` on.
    void add(std::size_t token, std::size_t table, std::size_t at, std::size_t n_tables) const {
        build(at);
        const bool fresh = table % kTablesPer16Bit == 0, once = table < kTablesPer16Bit;
        const bool last = (table + kAtOnce) % kTablesPer16Bit == 0 || table + kAtOnce == n_tables;
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

    std::size_t rows_;       // rows of the tile, a multiple of 16; what is computed past its end is not used
    std::uint8_t* entries_;  // [8 tables][81][32 tokens] of int16
    std::int16_t* x_;        // [column of the strip][32 tokens]
    Number* numbers_;        // [group of the strip / 8][row][8]
    std::int16_t* sums_;     // [tokens / 32][row][32 tokens]
    std::int32_t* totals_;   // the same layout
};

inline void lookup_dot(const TernaryTask& task, std::uint8_t* scratch) {
    const auto& [rows, scale, x, n_tokens, cols, out] = task;
    Lookup<LookupRows>::dot({rows}, rows.count, scale, x, n_tokens, cols, out, scratch);
}

inline void panel_lookup_dot(const TernaryPanelTask& task, std::uint8_t* scratch) {
    const auto& [panels, rows, scale, x, n_tokens, cols, ahead, out] = task;
    Lookup<LookupPanels>::dot({panels, cols / kLineColumns * kTernaryLine}, rows, scale, x, n_tokens, cols, out,
                              scratch);
}

}  // namespace
}  // namespace sterna

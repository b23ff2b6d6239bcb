// How lookup tables (ternary_lookup.hpp) read ternary codes: every byte holds the codes of four columns of a row, and
// belongs to one table. The layouts differ in which columns these are, and in where a row's bytes lie:
//
//   column(table, i)   the i-th of the four columns of a table, within a strip of 64 tables
//   number(first, count, n_rows, write)   calls write(row, i, numbers) for n_rows rows, those past the end included,
//       and i = 0, 8, ..: numbers holds in its low bytes those of tables first + i .. first + i + 7
//
// A byte's codes c0 c1 c2 c3, the highest bits first, make the number 27 c0 + 9 c1 + 3 c2 + c3 of an entry. The code 3,
// which does not occur, counts as 0.
#pragma once

#include "ternary_panels.hpp"
#include "ternary_x86.hpp"

namespace sterna {
namespace {

inline __m256i entry_numbers(__m256i bytes) {
    const __m256i nibble = _mm256_set1_epi8(15);
    const __m256i low = _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 1, 2, 0, 3, 4, 5, 0, 6, 7, 8, 0, 0, 0, 0, 0));
    const __m256i high =
        _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 9, 18, 0, 27, 36, 45, 0, 54, 63, 72, 0, 0, 0, 0, 0));
    return _mm256_add_epi8(_mm256_shuffle_epi8(low, _mm256_and_si256(bytes, nibble)),
                           _mm256_shuffle_epi8(high, _mm256_and_si256(_mm256_srli_epi16(bytes, 4), nibble)));
}

inline __m128i high_half(__m128i v) {
    return _mm_unpackhi_epi64(v, v);
}

// Rows of I2_S: a table belongs to one byte of each row. Rows past the end repeat the last one.
struct LookupRows {
    Rows rows;

    static constexpr std::size_t column(std::size_t table, std::size_t i) {
        return table / 32 * 128 + table % 32 + 32 * i;
    }

    template <class Write>
    void number(std::size_t first, std::size_t count, std::size_t n_rows, const Write& write) const {
        for (std::size_t r = 0; r < n_rows; ++r) {
            const std::uint8_t* row = rows.data + smaller(r, rows.count - 1) * rows.stride + first;
            // A strip may begin in the middle of a cache line: both lines are fetched.
            _mm_prefetch(reinterpret_cast<const char*>(row + 16 * rows.stride), _MM_HINT_T0);
            _mm_prefetch(reinterpret_cast<const char*>(row + 16 * rows.stride + count - 1), _MM_HINT_T0);
            for (std::size_t i = 0; i < count; i += 32) {
                const __m256i numbers = entry_numbers(load256(row + i));
                const __m128i low = _mm256_castsi256_si128(numbers), high = _mm256_extracti128_si256(numbers, 1);
                write(r, i, low);
                write(r, i + 8, high_half(low));
                write(r, i + 16, high);
                write(r, i + 24, high_half(high));
            }
        }
    }
};

// Ternary panels (ternary_panels.hpp): four tables belong to the line of sixteen columns, one to each byte of a row.
struct LookupPanels {
    const std::uint8_t* panels;
    std::size_t panel_bytes;

    static constexpr std::size_t column(std::size_t table, std::size_t i) { return table / 4 * 16 + table % 4 + 4 * i; }

    template <class Write>
    void number(std::size_t first, std::size_t count, std::size_t n_rows, const Write& write) const {
        for (std::size_t r = 0; r < n_rows; r += 16) {
            const std::uint8_t* lines = panels + r / 16 * panel_bytes + 16 * first;
            for (std::size_t i = 0; i < count; i += 8, lines += 128)
                for (std::size_t half = 0; half < 2; ++half) {
                    const __m256i a = entry_numbers(load256(lines + 32 * half));
                    const __m256i b = entry_numbers(load256(lines + 64 + 32 * half));
                    const __m256i rows0145 = _mm256_unpacklo_epi32(a, b), rows2367 = _mm256_unpackhi_epi32(a, b);
                    for (std::size_t quad = 0; quad < 2; ++quad) {
                        const auto half_of = [&](__m256i v) {
                            return quad == 0 ? _mm256_castsi256_si128(v) : _mm256_extracti128_si256(v, 1);
                        };
                        const std::size_t row = r + 8 * half + 4 * quad;
                        write(row, i, half_of(rows0145));
                        write(row + 1, i, high_half(half_of(rows0145)));
                        write(row + 2, i, half_of(rows2367));
                        write(row + 3, i, high_half(half_of(rows2367)));
                    }
                }
        }
    }
};

}  // namespace
}  // namespace sterna

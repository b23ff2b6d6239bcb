// Ternary panels: I2_S codes repacked for multiplication. A panel is sixteen rows side by side, so that each row has a
// lane of a register, sums are never folded across lanes, and the bytes of a matrix are one stream.
//
//   line, 64 bytes: sixteen columns k .. k + 15 of the panel's rows, four bytes for each row
//   byte i of a row   bits 7:6      5:4         3:2         1:0
//                     column k + i  k + 4 + i   k + 8 + i   k + 12 + i      codes 0, 1, 2 for -1, 0, +1
//
// So a line under one mask of two bits is four columns of sixteen rows, for four activations that follow each other.
// Rows past the end of the matrix hold the code 1.
#pragma once

#include <cstring>

#include "kernels.hpp"

namespace sterna {
namespace {

constexpr std::size_t kTernaryRows = 16, kTernaryLine = 64;  // rows of a panel, bytes of a line
constexpr std::size_t kLineColumns = 16;

// Packs the codes of at most sixteen rows, `blocks` blocks of 128 columns, as they are stored in I2_S. In a block of
// I2_S, byte b of a row has columns b, b + 32, b + 64 and b + 96, the first in its highest bits: words f = 0 .. 3 of
// sixteen bytes hold bytes i + 4 f, and a pair of bits of each goes to the same byte of one word of the panel.
inline void pack_ternary_panel(const Rows& rows, std::size_t blocks, std::uint8_t* out) {
    typedef std::uint32_t Words __attribute__((vector_size(kTernaryLine)));
    constexpr std::uint32_t kPairs = 0x03030303, kNone = 0x55555555;
    for (std::size_t half = 0; half < 2 * blocks; ++half) {
        std::uint32_t words[4][kTernaryRows];
        for (std::size_t r = 0; r < kTernaryRows; ++r)
            for (std::size_t f = 0; f < 4; ++f) {
                words[f][r] = kNone;
                if (r < rows.count) std::memcpy(&words[f][r], rows.data + r * rows.stride + 16 * half + 4 * f, 4);
            }
        Words in[4];
        std::memcpy(in, words, sizeof(in));
        for (int quarter = 0; quarter < 4; ++quarter) {
            const int at = 6 - 2 * quarter;
            const Words line = (in[0] >> at & kPairs) << 6 | (in[1] >> at & kPairs) << 4 | (in[2] >> at & kPairs) << 2 |
                               (in[3] >> at & kPairs);
            const std::size_t place = half / 2 * 8 + 2 * static_cast<std::size_t>(quarter) + half % 2;
            std::memcpy(out + place * kTernaryLine, &line, sizeof(line));
        }
    }
}

inline void pack_ternary_panels(const Rows& rows, std::size_t cols, std::uint8_t* out) {
    for (std::size_t r = 0; r < rows.count; r += kTernaryRows, out += kTernaryRows * cols / 4) {
        const std::size_t left = rows.count - r;
        pack_ternary_panel({rows.data + r * rows.stride, rows.stride, left < kTernaryRows ? left : kTernaryRows},
                           cols / 128, out);
    }
}

// Packs one block of columns of I2_S rows, as the rows of the transposed matrix: eight panels, `cols` columns each,
// which are the rows, and codes 1 behind the last of them. Words of sixteen bytes hold sixteen columns of a row.
inline void pack_transposed_panels(const Rows& rows, std::size_t block, std::size_t cols, std::uint8_t* out) {
    typedef std::uint32_t Words __attribute__((vector_size(16)));
    typedef std::uint8_t Bytes __attribute__((vector_size(16)));
    typedef std::uint32_t Line __attribute__((vector_size(kTernaryLine)));
    constexpr std::uint32_t kPairs = 0x03030303, kNone = 0x55555555;
    for (std::size_t r = 0; r < cols; r += kLineColumns)
        for (std::size_t half = 0; half < 2; ++half) {
            Words in[kLineColumns];
            for (std::size_t i = 0; i < kLineColumns; ++i) {
                in[i] = Words{kNone, kNone, kNone, kNone};
                if (r + i < rows.count)
                    std::memcpy(&in[i], rows.data + (r + i) * rows.stride + 32 * block + 16 * half, sizeof(Words));
            }
            for (std::size_t quarter = 0; quarter < 4; ++quarter) {
                const int at = static_cast<int>(6 - 2 * quarter);
                Line line = {};
                for (std::size_t i = 0; i < 4; ++i) {
                    const Words four = (in[i] >> at & kPairs) << 6 | (in[4 + i] >> at & kPairs) << 4 |
                                       (in[8 + i] >> at & kPairs) << 2 | (in[12 + i] >> at & kPairs);
                    Bytes bytes;
                    std::memcpy(&bytes, &four, sizeof(bytes));
                    line |= __builtin_convertvector(bytes, Line) << static_cast<int>(8 * i);
                }
                std::memcpy(out + (2 * quarter + half) * 4 * cols + 4 * r, &line, sizeof(line));
            }
        }
}

}  // namespace
}  // namespace sterna

// Panels of asymmetric INT4 in groups of columns (src/sterna/ternary/int4.py): sixteen rows side by side, so that a
// matrix is one stream of lines of 64 bytes. A panel is, for each group,
//
//   scales   a line: d [16], z [16] of the rows, float16
//   codes    group / 8 lines of eight columns: byte b of the four of row r has column b in its low nibble and column
//            4 + b in its high one
//
// Activations are int8 codes x, one or two halves of them. A product of a row and a token is the float32 sum over
// groups, in the order of columns, of
//
//   d * f * n,    n = (sum of code * x) - z * (sum of x), or 128 * n of the high halves + n of the low ones
//
// where f is the token's factor of the group. The sums are exact; n, d * f, and each sum of n * (d * f) are rounded
// once.
#pragma once

#include "kernels.hpp"
#include "lanes.hpp"

namespace sterna {
namespace {

constexpr std::size_t kInt4Line = 64, kInt4Rows = 16, kInt4LineColumns = 8;

// Bytes of a panel of one group.
[[gnu::always_inline]] inline std::size_t int4_group_bytes(std::size_t group) {
    return kInt4Line + group / kInt4LineColumns * kInt4Line;
}

// The rows' panels, the last one filled up with rows of zeros.
inline void pack_int4_panels(const Rows& rows, std::size_t cols, std::size_t group, std::uint8_t* out) {
    const std::size_t block = 4 + group / 2, groups = cols / group, bytes = int4_group_bytes(group);
    for (std::size_t first = 0; first < rows.count; first += kInt4Rows, out += groups * bytes) {
        const std::size_t count = rows.count - first < kInt4Rows ? rows.count - first : kInt4Rows;
        if (count < kInt4Rows) std::memset(out, 0, groups * bytes);
        for (std::size_t r = 0; r < count; ++r) {
            const std::uint8_t* src = rows.data + (first + r) * rows.stride;
            std::uint8_t* at = out;
            for (std::size_t g = 0; g < groups; ++g, src += block, at += bytes) {
                std::memcpy(at + 2 * r, src, 2);
                std::memcpy(at + 2 * kInt4Rows + 2 * r, src + 2, 2);
                for (std::size_t i = 0; i < group / kInt4LineColumns; ++i) {
                    // Nibbles 0 to 7 of the word are its columns; those of bytes 0 to 3 become 0, 4, 1, 5, ...
                    std::uint32_t word;
                    std::memcpy(&word, src + 4 + 4 * i, 4);
                    std::uint32_t line = 0;
                    for (int b = 0; b < 4; ++b)
                        line |= (word >> 4 * b & 15u) << 8 * b | (word >> 4 * (b + 4) & 15u) << (8 * b + 4);
                    std::memcpy(at + kInt4Line * (i + 1) + 4 * r, &line, 4);
                }
            }
        }
    }
}

}  // namespace
}  // namespace sterna

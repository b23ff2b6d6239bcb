// What a unit of a panel (panels.hpp) holds, on the lanes of its rows: codes as bytes, scales and offsets. Compiled
// once per ISA; internal linkage.
#pragma once

#include <utility>

#include "panel_lanes.hpp"

namespace sterna {
namespace {

constexpr std::size_t kVecBytes = sizeof(RowVec);

// Calls call(std::integral_constant<int, 0>), ..., with N - 1 the last.
template <int N, class Call>
inline void unrolled(const Call& call) {
    [&]<int... I>(std::integer_sequence<int, I...>) {
        (call(std::integral_constant<int, I>()), ...);
    }
    (std::make_integer_sequence<int, N>());
}

// Formats whose numbers are int8, where those of the others are codes 0..63 less kBias.
template <class Format>
constexpr bool kInt8Numbers = Format::kSigned || Format::kTable;

// Whether int8 numbers become unsigned bytes, 128 more: x86 multiplies unsigned codes, sdot of NEON signed ones.
#if defined(__AVX2__)
constexpr bool kPlus128 = true;
#else
constexpr bool kPlus128 = false;
#endif

struct ByteTable {
    alignas(16) std::uint8_t at[16];
    constexpr ByteTable() : at() {
        for (int i = 0; i < 16; ++i) at[i] = static_cast<std::uint8_t>(kTableNumbers[i] + (kPlus128 ? 128 : 0));
    }
};
constexpr ByteTable kByteTable;

// Bits [At, At + Bits) of each byte.
constexpr std::uint16_t byte_bits(int bits, int at) {
    return static_cast<std::uint16_t>(0x0101 * (((1 << bits) - 1) << at));
}

// Columns 4 Four .. 4 Four + 3 of a unit, for the rows of register v: codes, or int8 numbers.
template <class Format, int Four>
inline CodeVec codes_of(const std::uint8_t* fields, std::size_t v) {
    const auto word = [&](int field, int bits) {
        FieldVec w;
        std::memcpy(&w, fields + 4 * kPanelRows * (field + Four * bits / 8) + kVecBytes * v, sizeof(w));
        return w;
    };
    constexpr int kBits = Format::kBits, kMore = Format::kMoreBits, kAt = Four * kBits % 8;
    FieldVec codes = word(0, kBits);
    if constexpr (Format::kSigned) return reinterpret_cast<CodeVec>(kPlus128 ? codes ^ byte_bits(1, 7) : codes);
    codes = codes >> kAt & byte_bits(kBits, 0);
    if constexpr (Format::kTable) return look_up(kByteTable.at, reinterpret_cast<CodeVec>(codes));
    if constexpr (kMore != 0) {
        constexpr int kUp = kBits - Four * kMore % 8;
        const FieldVec more = word(kBits, kMore);
        codes |= (kUp >= 0 ? more << (kUp & 15) : more >> (-kUp & 15)) & byte_bits(kMore, kBits);
    }
    return reinterpret_cast<CodeVec>(codes);
}

// Scales and offsets of the rows of register v: those of a block, and from them those of a group of a unit.
struct RowScales {
    RowVec scale, offset;
};

template <class Format>
inline RowScales halfs_at(const std::uint8_t* p, std::size_t v) {
    const std::uint8_t* at = p + 2 * kPanelWidth * v;
    if constexpr (Format::kOffset) return {rows_of_halfs(at), rows_of_halfs(at + 2 * kPanelRows)};
    return {rows_of_halfs(at), RowVec{}};
}

template <class Format>
inline RowScales group_scales(const RowScales& block, const std::uint8_t* unit, std::size_t g, std::size_t v) {
    if constexpr (!Format::kNested) return {block.scale, RowVec{} - block.offset};
    const std::uint8_t* at = unit + g * Panel<Format>::kScales / Panel<Format>::kGroups + kPanelWidth * v;
    const RowInts bytes = rows_of_int8(at);
    if constexpr (Format::kNibbleScales)
        return {block.scale * to_float(bytes & 15), block.offset * to_float(bytes >> 4 & 15)};
    RowScales scales{block.scale * to_float(bytes), RowVec{}};
    if constexpr (Format::kOffset) scales.offset = block.offset * to_float(rows_of_int8(at + kPanelRows));
    return scales;
}

// The sums of a token's activations over the groups of a format.
template <class Format>
inline const float* group_sums(const Int15Activations& x, std::size_t token) {
    return Format::kGroup == 16 ? x.sixteens + token * x.stride / 16 : x.thirty_twos + token * x.stride / 32;
}

// Adds a group to the product of a token; `x` is the sum of its activations.
template <bool Offset>
inline void add_group(RowVec& product, const RowVec& sum, const RowScales& scales, float x) {
    product += scales.scale * sum;
    if constexpr (Offset) product -= scales.offset * x;
}

// Writes the products of at most n_rows rows from `row` on with one token. product: [n_rows] in registers.
inline void put_products(const PanelTask& task, std::size_t token, std::size_t row, std::size_t n_rows,
                         const RowVec* product) {
    const std::size_t count = task.rows - row < n_rows ? task.rows - row : n_rows;
    float* out = task.out.data + token * task.out.stride + row;
    for (std::size_t r = 0; r < count; r += kPanelWidth, ++product) {
        const RowVec quotient = *product / task.x.scales[token];
        std::memcpy(out + r, &quotient, count - r < kPanelWidth ? (count - r) * sizeof(float) : sizeof(quotient));
    }
}

}  // namespace
}  // namespace sterna

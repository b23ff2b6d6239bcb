// Panels (panels.hpp) times int15 activations. Up to four tokens take codes from registers as they are unpacked, so a
// panel is one stream of memory. From five tokens on, the codes of kPanels panels and of some columns are unpacked into
// L1 once, and met there by kTileTokens tokens at a time. Both give the same bits. Compiled once per ISA; internal
// linkage.
#pragma once

#include <utility>

#include "panel_lanes.hpp"

namespace sterna {
namespace {

#if defined(__AVX512F__)
constexpr std::size_t kPanels = 3, kTileTokens = 8, kPieceUnits = 8;
#elif defined(__AVX2__)
constexpr std::size_t kPanels = 1, kTileTokens = 6, kPieceUnits = 16;
#else
constexpr std::size_t kPanels = 1, kTileTokens = 3, kPieceUnits = 16;
#endif
constexpr std::size_t kAhead = 4096;  // bytes: a panel is prefetched this far ahead of the multiplications
constexpr std::size_t kTileVecs = kPanels * kPanelRegisters, kFewTokens = 4, kPassTokens = 64;
constexpr std::size_t kVecBytes = sizeof(RowVec), kRegisters16 = kPanelRegisters;

// Calls call(std::integral_constant<int, 0>), ..., with N - 1 the last.
template <int N, class Call>
inline void unrolled(const Call& call) {
    [&]<int... I>(std::integer_sequence<int, I...>) {
        (call(std::integral_constant<int, I>()), ...);
    }
    (std::make_integer_sequence<int, N>());
}

// The codes of pair P of a unit, for the rows of register v.
template <class Format, int P>
inline PairVec codes_of(const std::uint8_t* fields, std::size_t v) {
    const auto word = [&](int field, int bits) {
        FieldVec w;
        std::memcpy(&w, fields + 4 * kPanelRows * (field + P * bits / 16) + kVecBytes * v, sizeof(w));
        return w;
    };
    constexpr int kBits = Format::kBits, kMore = Format::kMoreBits, kAt = P * kBits % 16;
    const FieldVec w = word(0, kBits);
    if constexpr (Format::kSigned) {
        return reinterpret_cast<PairVec>(kAt == 0 ? w << 8 : w) >> 8;
    } else if constexpr (Format::kTable) {
        constexpr std::uint16_t kMask = 0x0f00;
        return look_up(kTableNumbers, (kAt <= 8 ? w << ((8 - kAt) & 15) : w >> ((kAt - 8) & 15)) & kMask);
    } else {
        constexpr std::uint16_t kMask = (1 << kBits) - 1;
        FieldVec codes = w >> kAt & kMask;
        if constexpr (kMore != 0) {
            constexpr int kMoreAt = P * kMore % 16;
            constexpr std::uint16_t kMoreMask = ((1 << kMore) - 1) << kBits;
            const FieldVec more = word(kBits, kMore);
            codes |=
                (kMoreAt <= kBits ? more << ((kBits - kMoreAt) & 15) : more >> ((kMoreAt - kBits) & 15)) & kMoreMask;
        }
        return reinterpret_cast<PairVec>(codes);
    }
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

// Adds a group to the product of a token; `x` is the sum of its activations.
template <bool Offset>
inline void add_group(RowVec& product, const RowVec& sum, const RowScales& scales, float x) {
    product += scales.scale * sum;
    if constexpr (Offset) product -= scales.offset * x;
}

template <class Format>
inline const float* group_sums(const Int15Activations& x, std::size_t token) {
    return Format::kGroup == 16 ? x.sixteens + token * x.stride / 16 : x.thirty_twos + token * x.stride / 32;
}

template <class Format, std::size_t T>
void panel_rows(const PanelTask& task, std::size_t first_token) {
    using P = Panel<Format>;
    constexpr std::size_t kChains = T == 1 ? 4 : T == 2 ? 2 : 1;  // sums of a product, which do not wait for each other
    const Int15Activations& x = task.x;
    const std::uint8_t* at = task.panels;
    for (std::size_t row = 0; row < task.rows; row += kPanelRows) {
        RowVec products[T][kRegisters16] = {};
        const std::int16_t* values[T];
        const float* sums_of[T];
        for (std::size_t t = 0; t < T; ++t) {
            values[t] = x.values + (first_token + t) * x.stride;
            sums_of[t] = group_sums<Format>(x, first_token + t);
        }
        for (std::size_t b = 0; b < task.cols / Format::kValues; ++b) {
            RowScales block[kRegisters16];
            if constexpr (P::kHeader != 0)
                for (std::size_t v = 0; v < kRegisters16; ++v) block[v] = halfs_at<Format>(at, v);
            at += P::kHeader;
            for (std::size_t unit = 0; unit < P::kUnits; ++unit, at += P::kUnitBytes) {
                for (std::size_t line = 0; line < P::kUnitBytes; line += 64) __builtin_prefetch(at + kAhead + line);
                if constexpr (P::kHeader == 0)
                    for (std::size_t v = 0; v < kRegisters16; ++v) block[v] = halfs_at<Format>(at, v);
                unrolled<P::kGroups>([&](auto group) {
                    PairSum sums[T][kRegisters16][kChains];
                    for (auto& of_token : sums)
                        for (auto& of_register : of_token)
                            for (auto& sum : of_register) sum = no_pairs();
                    unrolled<P::kPairs>([&](auto pair) {
                        constexpr int kPair = group * P::kPairs + pair;
                        PairVec codes[kRegisters16];
                        for (std::size_t v = 0; v < kRegisters16; ++v)
                            codes[v] = codes_of<Format, kPair>(at + P::kScales, v);
                        for (std::size_t t = 0; t < T; ++t) {
                            const PairOfAll all = pair_of_all(values[t] + 2 * kPair);
                            for (std::size_t v = 0; v < kRegisters16; ++v)
                                add_pairs(sums[t][v][pair % kChains], codes[v], all);
                        }
                    });
                    for (std::size_t v = 0; v < kRegisters16; ++v) {
                        const RowScales scales = group_scales<Format>(block[v], at, group, v);
                        for (std::size_t t = 0; t < T; ++t) {
                            RowInts whole = total(sums[t][v][0]);
                            for (std::size_t c = 1; c < kChains; ++c) whole += total(sums[t][v][c]);
                            RowVec sum = to_float(whole);  // whole numbers up to 2^24: exact
                            if constexpr (Format::kBias != 0) sum -= Format::kBias * *sums_of[t];
                            add_group<Format::kOffset>(products[t][v], sum, scales, *sums_of[t]);
                        }
                    }
                    for (std::size_t t = 0; t < T; ++t) ++sums_of[t];
                });
                for (std::size_t t = 0; t < T; ++t) values[t] += kUnit;
            }
        }
        const std::size_t count = task.rows - row < kPanelRows ? task.rows - row : kPanelRows;
        for (std::size_t t = 0; t < T; ++t) {
            float out[kPanelRows];
            std::memcpy(out, products[t], sizeof(out));
            float* place = task.out.data + (first_token + t) * task.out.stride + row;
            for (std::size_t r = 0; r < count; ++r) place[r] = out[r] / x.scales[first_token + t];
        }
    }
}

// The unpacked panels of a tile, for a piece of the columns; numbers are codes less their bias.
struct alignas(64) PanelPiece {
    PairVec numbers[kPieceUnits * kUnit / 2][kTileVecs];
    RowScales scales[kPieceUnits * 2][kTileVecs];  // by group
};

// Unpacks `units` units, whole blocks, of one panel into place `panel` of a piece.
template <class Format>
void unpack_panel(const std::uint8_t* at, std::size_t units, std::size_t panel, PanelPiece& piece) {
    using P = Panel<Format>;
    const std::size_t first = panel * kRegisters16;
    RowScales block[kRegisters16] = {};
    for (std::size_t unit = 0; unit < units; ++unit, at += P::kUnitBytes) {
        if (unit % P::kUnits == 0) {
            for (std::size_t v = 0; v < kRegisters16; ++v) block[v] = halfs_at<Format>(at, v);
            at += P::kHeader;
        }
        for (std::size_t v = 0; v < kRegisters16; ++v) {
            for (std::size_t g = 0; g < P::kGroups; ++g)
                piece.scales[unit * P::kGroups + g][first + v] = group_scales<Format>(block[v], at, g, v);
            unrolled<kUnit / 2>([&](auto pair) {
                piece.numbers[unit * kUnit / 2 + pair][first + v] =
                    codes_of<Format, pair>(at + P::kScales, v) - static_cast<std::int16_t>(Format::kBias);
            });
        }
    }
}

// Adds a piece of `groups` groups to the products of T tokens, products[t][kTileVecs].
template <int Group, bool Offset, std::size_t T>
void panel_tile(const PanelPiece& piece, std::size_t groups, const std::int16_t* x, const float* sums_of,
                std::size_t x_stride, RowVec* products) {
    const PairVec(*numbers)[kTileVecs] = piece.numbers;
    for (std::size_t group = 0; group < groups; ++group) {
        PairSum sums[T][kTileVecs];
        for (auto& of_token : sums)
            for (auto& sum : of_token) sum = no_pairs();
#pragma GCC unroll 4
        for (std::size_t pair = 0; pair < Group / 2; ++pair, ++numbers, x += 2) {
            PairVec w[kTileVecs];
#pragma GCC unroll 4
            for (std::size_t v = 0; v < kTileVecs; ++v) w[v] = (*numbers)[v];
#pragma GCC unroll 8
            for (std::size_t t = 0; t < T; ++t) {
                const PairOfAll all = pair_of_all(x + t * x_stride);
#pragma GCC unroll 4
                for (std::size_t v = 0; v < kTileVecs; ++v) add_pairs(sums[t][v], w[v], all);
            }
        }
#pragma GCC unroll 4
        for (std::size_t v = 0; v < kTileVecs; ++v) {
            const RowScales scales = piece.scales[group][v];
#pragma GCC unroll 8
            for (std::size_t t = 0; t < T; ++t)
                add_group<Offset>(products[t * kTileVecs + v], to_float(total(sums[t][v])), scales,
                                  sums_of[t * x_stride / Group + group]);
        }
    }
}

// At most kPassTokens tokens. T counts from 0 to kTileTokens - 1.
template <class Format, std::size_t... T>
void panel_tiles(std::index_sequence<T...>, const PanelTask& task, std::size_t first_token, std::size_t n_tokens) {
    constexpr decltype(&panel_tile<16, false, 1>) kByTokens[] = {panel_tile<Format::kGroup, Format::kOffset, T + 1>...};
    using P = Panel<Format>;
    const Int15Activations& x = task.x;
    const std::size_t tiles = (n_tokens + kTileTokens - 1) / kTileTokens, width = (n_tokens + tiles - 1) / tiles;
    const std::size_t panels = (task.rows + kPanelRows - 1) / kPanelRows, units = task.cols / kUnit;
    const std::size_t panel_size = units / P::kUnits * P::kBytes;
    PanelPiece piece;
    RowVec products[kPassTokens * kTileVecs];
    for (std::size_t panel = 0; panel < panels; panel += kPanels) {
        std::memset(products, 0, n_tokens * kTileVecs * sizeof(RowVec));
        for (std::size_t unit = 0; unit < units; unit += kPieceUnits) {
            const std::size_t count = units - unit < kPieceUnits ? units - unit : kPieceUnits;
            for (std::size_t i = 0; i < kPanels; ++i) {  // panels past the last one repeat it
                const std::size_t which = panel + i < panels ? panel + i : panels - 1;
                unpack_panel<Format>(task.panels + which * panel_size + unit / P::kUnits * P::kBytes, count, i, piece);
            }
            for (std::size_t t = 0; t < n_tokens; t += width)
                kByTokens[(n_tokens - t < width ? n_tokens - t : width) - 1](
                    piece, count * P::kGroups, x.values + (first_token + t) * x.stride + unit * kUnit,
                    group_sums<Format>(x, first_token + t) + unit * P::kGroups, x.stride, products + t * kTileVecs);
        }
        const std::size_t row = panel * kPanelRows;
        const std::size_t count = task.rows - row < kPanels * kPanelRows ? task.rows - row : kPanels * kPanelRows;
        for (std::size_t t = 0; t < n_tokens; ++t) {
            float out[kPanels * kPanelRows];
            std::memcpy(out, products + t * kTileVecs, sizeof(out));
            float* place = task.out.data + (first_token + t) * task.out.stride + row;
            for (std::size_t r = 0; r < count; ++r) place[r] = out[r] / x.scales[first_token + t];
        }
    }
}

template <class Format>
void panel_tokens(const PanelTask& task) {
    constexpr decltype(&panel_rows<Format, 1>) kFew[] = {panel_rows<Format, 1>, panel_rows<Format, 2>,
                                                         panel_rows<Format, 3>, panel_rows<Format, 4>};
    for (std::size_t t = 0, n; t < task.n_tokens; t += n) {
        n = task.n_tokens - t < kPassTokens ? task.n_tokens - t : kPassTokens;
        if (n <= kFewTokens)
            kFew[n - 1](task, t);
        else
            panel_tiles<Format>(std::make_index_sequence<kTileTokens>(), task, t, n);
    }
}

void panel_dot(const PanelTask& task) {
    with_block_format(task.encoding, [&]<class Format>(Format) {
        if constexpr (requires { typename Format::Panels; })
            panel_tokens<typename Format::Panels>(task);
        else
            panel_tokens<Format>(task);
    });
}

}  // namespace
}  // namespace sterna

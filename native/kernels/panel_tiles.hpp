// Panels (panels.hpp) times many tokens, on x86: the numbers of kPanels panels and of some columns are unpacked into L1
// once, as 16 bits, and met there by kTileTokens tokens at a time. A pair of 16-bit products costs what four products
// with a half of the activations do, and needs neither the join of the halves nor, after unpacking, a bias. Gives the
// bits of panel_rows. Compiled once per ISA; internal linkage.
#pragma once

#include "panel_rows.hpp"

namespace sterna {
namespace {

#if defined(__AVX512F__)
constexpr std::size_t kPanels = 3, kTileTokens = 8, kPieceUnits = 8;
#else
constexpr std::size_t kPanels = 1, kTileTokens = 6, kPieceUnits = 16;
#endif
constexpr std::size_t kTileVecs = kPanels * kPanelRegisters, kPassTokens = 64;

// sum += pair[0] * x[0] + pair[1] * x[1] in every lane. In assembly where gcc 12 copies and spills sums that go through
// the intrinsics.
inline void add_pairs(RowInts& sum, const PairVec& pair, const RowInts& x) {
#if defined(__AVX512VNNI__)
    asm("vpdpwssd %2, %1, %0" : "+v"(sum) : "v"(pair), "v"(x));
#elif defined(__AVXVNNI__)
    asm("%{vex%} vpdpwssd %2, %1, %0" : "+x"(sum) : "x"(pair), "x"(x));
#else
    sum += reinterpret_cast<RowInts>(_mm256_madd_epi16(reinterpret_cast<__m256i>(pair), reinterpret_cast<__m256i>(x)));
#endif
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
    constexpr std::int16_t kBias = kInt8Numbers<Format> ? 128 : Format::kBias;
    const std::size_t first = panel * kPanelRegisters;
    RowScales block[kPanelRegisters] = {};
    for (std::size_t unit = 0; unit < units; ++unit, at += P::kUnitBytes) {
        if (unit % P::kUnits == 0) {
            for (std::size_t v = 0; v < kPanelRegisters; ++v) block[v] = halfs_at<Format>(at, v);
            at += P::kHeader;
        }
        for (std::size_t v = 0; v < kPanelRegisters; ++v) {
            for (std::size_t g = 0; g < P::kGroups; ++g)
                piece.scales[unit * P::kGroups + g][first + v] = group_scales<Format>(block[v], at, g, v);
            unrolled<kUnit / 4>([&](auto i) {
                const CodeVec codes = codes_of<Format, i>(at + P::kScales, v);
                PairVec(*pairs)[kTileVecs] = piece.numbers + unit * kUnit / 2 + 2 * i;
                pairs[0][first + v] = pair_of<0>(codes) - kBias;
                pairs[1][first + v] = pair_of<1>(codes) - kBias;
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
        RowInts sums[T][kTileVecs];
        for (auto& of_token : sums)
            for (auto& sum : of_token) sum = RowInts{};
#pragma GCC unroll 4
        for (std::size_t pair = 0; pair < Group / 2; ++pair, ++numbers, x += 2) {
            PairVec w[kTileVecs];
#pragma GCC unroll 4
            for (std::size_t v = 0; v < kTileVecs; ++v) w[v] = (*numbers)[v];
#pragma GCC unroll 8
            for (std::size_t t = 0; t < T; ++t) {
                std::int32_t two;
                std::memcpy(&two, x + t * x_stride, sizeof(two));
                const RowInts all = RowInts{} + two;
#pragma GCC unroll 4
                for (std::size_t v = 0; v < kTileVecs; ++v) add_pairs(sums[t][v], w[v], all);
            }
        }
#pragma GCC unroll 4
        for (std::size_t v = 0; v < kTileVecs; ++v) {
            const RowScales scales = piece.scales[group][v];
#pragma GCC unroll 8
            for (std::size_t t = 0; t < T; ++t)
                add_group<Offset>(products[t * kTileVecs + v], to_float(sums[t][v]), scales,
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
        for (std::size_t t = 0; t < n_tokens; ++t)
            put_products(task, first_token + t, panel * kPanelRows, kPanels * kPanelRows, products + t * kTileVecs);
    }
}

}  // namespace
}  // namespace sterna

// Dot products of ternary panels with the tiles of AMX: registers of sixteen lines of 64 bytes, and an instruction that
// multiplies a tile of A with one of B and adds the products to one of C.
//
//   A   [tokens][64 columns]           int8 activations, as they lie
//   B   [64 columns / 4][16 rows][4]   codes of a panel, unpacked: a line under one mask of two bits becomes a line
//   C   [tokens][16 rows]              int32 sums
//
// Four tiles of C hide the latency of the instruction: those of one tile of tokens and four panels, or, from 17 tokens
// on, of two and two. Codes are unpacked once for all tokens of a call, a piece of columns at a time, so that they stay
// in L1; sums wait in memory meanwhile.
#pragma once

#include <immintrin.h>

#include <utility>

#include "amx_tiles.hpp"
#include "ternary_dot.hpp"
#include "ternary_panels.hpp"

namespace sterna {
namespace {

constexpr std::size_t kPieceColumns = 256;
constexpr std::size_t kAmxTokens = 128;

// Products of panels and at most kTokenTiles * 16 tokens at a time, kAmxTokens in all.
template <std::size_t kTokenTiles>
class PanelAmx {
public:
    static void dot(const TernaryPanelTask& task) {
        const auto& [panels, rows, scale, x, n_tokens, cols, ahead, out] = task;
        // Tiles of tokens of equal height; the last one begins early enough to have as many, and repeats some.
        const std::size_t rounds = (n_tokens + kTokenTiles * kTileLines - 1) / (kTokenTiles * kTileLines);
        const std::size_t tiles = rounds * kTokenTiles, height = (n_tokens + tiles - 1) / tiles;
        const auto first_token = [&](std::size_t tile) { return smaller(tile * height, n_tokens - height); };
        const Tiles configured(kFirstB, height);

        alignas(64) std::uint8_t codes[kPanels][kPieceColumns / kTileColumns][kTileBytes];
        alignas(64) std::int32_t sums[kAmxTokens / kTileLines][kPanels][kTileLines][kTernaryRows];
        const std::size_t n_panels = (rows + kTernaryRows - 1) / kTernaryRows;
        for (std::size_t panel = 0; panel < n_panels; panel += kPanels) {
            for (std::size_t first = 0; first < cols; first += kPieceColumns) {
                const std::size_t steps = smaller(kPieceColumns, cols - first) / kTileColumns;
                for (std::size_t p = 0; p < kPanels; ++p)  // past the end, the last panel is repeated
                    unpack(panels + smaller(panel + p, n_panels - 1) * 4 * cols + 4 * first, steps, kPanels * 4 * cols,
                           codes[p][0]);
                for (std::size_t tile = 0; tile < tiles; tile += kTokenTiles) {
                    const std::int8_t* a[kTokenTiles];
                    for (std::size_t t = 0; t < kTokenTiles; ++t)
                        a[t] = x.codes + first_token(tile + t) * x.stride + first;
                    multiply(Four(), a, x.stride, codes, steps, first == 0, sums[tile][0][0]);
                }
            }
            for (std::size_t tile = 0; tile < tiles; ++tile)
                for (std::size_t p = 0; p < kPanels; ++p)
                    write(task, panel + p, first_token(tile), height, sums[tile][p]);
        }
    }

private:
    // Tiles 0 to 3 belong to C, the next ones to A, the others to B.
    static constexpr std::size_t kPanels = 4 / kTokenTiles, kFirstA = 4, kFirstB = kFirstA + kTokenTiles;
    static constexpr std::size_t tile_of_b(std::size_t panel) { return kFirstB + panel % (8 - kFirstB); }
    using Four = std::make_index_sequence<4>;

    // Unpacks 4 * steps lines to tiles of B, and fetches those that lie `ahead` bytes further on.
    static void unpack(const std::uint8_t* line, std::size_t steps, std::size_t ahead, std::uint8_t* out) {
        const __m512i mask = _mm512_set1_epi8(3);
        for (const std::uint8_t* end = line + 4 * steps * kTernaryLine; line != end; line += kTernaryLine, out += 256) {
            const __m512i w = _mm512_loadu_si512(line);
            _mm_prefetch(reinterpret_cast<const char*>(line + ahead), _MM_HINT_T0);
            _mm512_store_si512(out, _mm512_and_si512(_mm512_srli_epi16(w, 6), mask));
            _mm512_store_si512(out + 64, _mm512_and_si512(_mm512_srli_epi16(w, 4), mask));
            _mm512_store_si512(out + 128, _mm512_and_si512(_mm512_srli_epi16(w, 2), mask));
            _mm512_store_si512(out + 192, _mm512_and_si512(w, mask));
        }
    }

    // sums[I] (+)= A * B of one piece of columns, for tile I / kPanels of the tokens and panel I % kPanels.
    template <std::size_t... I, std::size_t kSteps>
    static void multiply(std::index_sequence<I...>, const std::int8_t* (&a)[kTokenTiles], std::size_t stride,
                         const std::uint8_t (&codes)[kPanels][kSteps][kTileBytes], std::size_t steps, bool fresh,
                         std::int32_t* sums) {
        constexpr std::size_t kSums = kTileBytes / sizeof(std::int32_t);
        if (fresh)
            (tile_zero<I>(), ...);
        else
            (tile_load<I>(sums + I * kSums, 64), ...);
        for (std::size_t step = 0; step < steps; ++step)
            (add<I / kPanels, I % kPanels>(a[I / kPanels] + step * kTileColumns, stride, codes[I % kPanels][step]),
             ...);
        (tile_store<I>(sums + I * kSums), ...);
    }

    // One step of one tile of C: loads what no tile before it has loaded.
    template <std::size_t kToken, std::size_t kPanel>
    static void add(const std::int8_t* a, std::size_t stride, const std::uint8_t* b) {
        if constexpr (kPanel == 0) tile_load<kFirstA + kToken>(a, stride);
        if constexpr (kToken == 0) tile_load<tile_of_b(kPanel)>(b, 64);
        tile_multiply_add<kToken * kPanels + kPanel, kFirstA + kToken, tile_of_b(kPanel)>();
    }

    // Writes the products of one panel and `n` tokens from `first` on.
    static void write(const TernaryPanelTask& task, std::size_t panel, std::size_t first, std::size_t n,
                      const std::int32_t (&sums)[kTileLines][kTernaryRows]) {
        const std::size_t row = panel * kTernaryRows;
        if (row >= task.rows) return;
        const std::size_t count = smaller(task.rows - row, kTernaryRows);
        const auto kept = static_cast<__mmask16>((1u << count) - 1);
        for (std::size_t t = 0; t < n; ++t) {
            const std::size_t token = first + t;
            const __m512i dots = _mm512_sub_epi32(_mm512_load_si512(sums[t]), _mm512_set1_epi32(task.x.sums[token]));
            const __m512 factor = _mm512_set1_ps(task.scale / task.x.scales[token]);
            _mm512_mask_storeu_ps(task.out.data + token * task.out.stride + row, kept,
                                  _mm512_mul_ps(_mm512_maskz_cvtepi32_ps(kept, dots), factor));
        }
    }
};

// kAmxTokens tokens at a time, in equal parts.
inline void ternary_panel_amx(const TernaryPanelTask& task) {
    const std::size_t parts = (task.n_tokens + kAmxTokens - 1) / kAmxTokens;
    const std::size_t width = (task.n_tokens + parts - 1) / parts;
    for (std::size_t t = 0; t < task.n_tokens; t += width) {
        TernaryPanelTask part = task;
        part.x.codes += t * task.x.stride;
        part.x.sums += t;
        part.x.scales += t;
        part.n_tokens = smaller(width, task.n_tokens - t);
        part.out.data += t * task.out.stride;
        (part.n_tokens <= kTileLines ? PanelAmx<1>::dot : PanelAmx<2>::dot)(part);
    }
}

// The ceiling: the multiply-adds of whole tiles without their loads.
inline std::uint64_t multiply_add_amx(std::size_t rounds) {
    constexpr std::size_t kFewer = 8;  // a round takes eight times as long as one of vectors
    const Tiles configured(0, 0);
    [&]<std::size_t... I>(std::index_sequence<I...>) {
        (tile_zero<I>(), ...);
        for (std::size_t round = 0; round < rounds / kFewer; ++round)
            (tile_multiply_add<I, 4 + I / 2, 6 + I % 2>(), ...);
    }
    (std::make_index_sequence<4>());
    return rounds / kFewer * 4 * kTileLines * kTernaryRows * kTileColumns;
}

}  // namespace
}  // namespace sterna

// Products of group-scaled ternary panels (ternary_group_panels.hpp) and many tokens with the tiles of AMX, as in
// ternary_panel_amx.hpp: A is a half of the activations of a tile of tokens, B the codes of a panel less 1, and the
// four tiles of C are the sums of both halves over a group, for two panels. While tiles multiply, vectors scale and add
// the sums that were stored before.
//
// A group of columns is multiplied with all panels of a call before the next group, so that its activations stay in L1.
#pragma once

#include "ternary_group_panels.hpp"
#include "ternary_panel_amx.hpp"

namespace sterna {
namespace {

class GroupPanelsAmx {
public:
    static constexpr std::size_t kMostTokens = 32, kMostPanels = 6;  // their products stay in L1

    // At most kMostTokens tokens and kMostPanels panels; `group` is a multiple of 64 up to kMostGroup.
    static void dot(const PanelTask& task, std::size_t group) {
        const GroupPanels shape{task.cols, group};
        const std::size_t tiles = (task.n_tokens + kTileLines - 1) / kTileLines;
        const std::size_t height = (task.n_tokens + tiles - 1) / tiles;
        const std::size_t n_panels = (task.rows + kTernaryRows - 1) / kTernaryRows;
        const auto first_token = [&](std::size_t tile) { return smaller(tile * height, task.n_tokens - height); };
        const Tiles configured(kFirstB, height);

        alignas(64) Codes codes;
        alignas(64) Sums sums[2];
        alignas(64) float products[kMostPanels / 2][kMostTokens / kTileLines][2][kTileLines][kTernaryRows];
        std::memset(products, 0, (n_panels + 1) / 2 * sizeof(products[0]));
        for (std::size_t g = 0; g < shape.groups(); ++g)
            for (std::size_t pair = 0; 2 * pair < n_panels; ++pair) {
                __m512 scales[2];
                for (std::size_t p = 0; p < 2; ++p) {  // past the end, the last panel is repeated
                    const std::uint8_t* at = task.panels + smaller(2 * pair + p, n_panels - 1) * shape.bytes();
                    const auto* halfs = reinterpret_cast<const __m256i*>(at + g * GroupPanels::kScales);
                    scales[p] = _mm512_maskz_cvtph_ps(0xffff, _mm256_loadu_si256(halfs));
                    unpack(at + shape.lines_at() + g * shape.group_lines() * kTernaryLine, shape.group_lines(),
                           codes[p][0]);
                }
                const auto multiplied = [&](std::size_t tile) {
                    multiply(task.x, first_token(tile), g * group, group / kTileColumns, codes, sums[tile % 2]);
                };
                multiplied(0);
                for (std::size_t tile = 0; tile < tiles; ++tile) {
                    if (tile + 1 < tiles) multiplied(tile + 1);
                    for (std::size_t p = 0; p < 2; ++p)
                        add(sums[tile % 2][p], height, scales[p], products[pair][tile][p]);
                }
            }
        for (std::size_t panel = 0; panel < n_panels; ++panel)
            for (std::size_t tile = 0; tile < tiles; ++tile)
                write(task, panel, first_token(tile), height, products[panel / 2][tile][panel % 2]);
    }

private:
    // Tiles 0 to 3 belong to C, 4 and 5 to A, high and low, 6 and 7 to B.
    static constexpr std::size_t kMostGroup = 256, kFirstA = 4, kFirstB = 6;
    using Codes = std::int8_t[2][kMostGroup / kTileColumns][kTileBytes];
    using Sums = std::int32_t[2][2][kTileLines][kTernaryRows];  // [panel][half]

    template <std::size_t kC, std::size_t kA, std::size_t kB>
    static void tile_multiply_add_signed() {
        asm volatile("tdpbssd %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(kC), "i"(kA), "i"(kB));
    }

    static void unpack(const std::uint8_t* line, std::size_t lines, std::int8_t* out) {
        const __m512i mask = _mm512_set1_epi8(3), one = _mm512_set1_epi8(1);
        const auto put = [&](int at, const __m512i& codes) {
            _mm512_store_si512(out + at, _mm512_sub_epi8(_mm512_and_si512(codes, mask), one));
        };
        for (const std::uint8_t* end = line + lines * kTernaryLine; line != end; line += kTernaryLine, out += 256) {
            const __m512i w = _mm512_loadu_si512(line);
            _mm_prefetch(reinterpret_cast<const char*>(line + lines * kTernaryLine), _MM_HINT_T0);  // the next group
            put(0, _mm512_srli_epi16(w, 6));
            put(64, _mm512_srli_epi16(w, 4));
            put(128, _mm512_srli_epi16(w, 2));
            put(192, w);
        }
    }

    static void multiply(const Int15Activations& x, std::size_t token, std::size_t column, std::size_t steps,
                         const Codes& codes, Sums& sums) {
        tile_zero<0>();
        tile_zero<1>();
        tile_zero<2>();
        tile_zero<3>();
        const std::int8_t *high = x.high + token * x.stride + column, *low = x.low + token * x.stride + column;
        const std::size_t stride = x.stride;
        for (std::size_t step = 0; step < steps; ++step, high += kTileColumns, low += kTileColumns) {
            tile_load<kFirstA>(high, stride);
            tile_load<kFirstB>(codes[0][step], 64);
            tile_multiply_add_signed<0, kFirstA, kFirstB>();
            tile_load<kFirstA + 1>(low, stride);
            tile_multiply_add_signed<1, kFirstA + 1, kFirstB>();
            tile_load<kFirstB + 1>(codes[1][step], 64);
            tile_multiply_add_signed<2, kFirstA, kFirstB + 1>();
            tile_multiply_add_signed<3, kFirstA + 1, kFirstB + 1>();
        }
        tile_store<0>(sums[0][0]);
        tile_store<1>(sums[0][1]);
        tile_store<2>(sums[1][0]);
        tile_store<3>(sums[1][1]);
    }

    // products += scales * (128 * high + low), for the first n tokens.
    static void add(const std::int32_t (&halves)[2][kTileLines][kTernaryRows], std::size_t n, const __m512& scales,
                    float (&products)[kTileLines][kTernaryRows]) {
        for (std::size_t t = 0; t < n; ++t) {
            const __m512i high = _mm512_maskz_slli_epi32(0xffff, _mm512_load_si512(halves[0][t]), 7);
            const __m512i sum = _mm512_add_epi32(high, _mm512_load_si512(halves[1][t]));
            const __m512 product = _mm512_mul_ps(scales, _mm512_maskz_cvtepi32_ps(0xffff, sum));
            _mm512_store_ps(products[t], _mm512_add_ps(_mm512_load_ps(products[t]), product));
        }
    }

    static void write(const PanelTask& task, std::size_t panel, std::size_t token, std::size_t n,
                      const float (&products)[kTileLines][kTernaryRows]) {
        const std::size_t row = panel * kTernaryRows;
        const auto kept = static_cast<__mmask16>((1u << smaller(task.rows - row, kTernaryRows)) - 1);
        for (std::size_t t = 0; t < n; ++t)
            _mm512_mask_storeu_ps(task.out.data + (token + t) * task.out.stride + row, kept,
                                  _mm512_div_ps(_mm512_load_ps(products[t]), _mm512_set1_ps(task.x.scales[token + t])));
    }
};

// Any number of tokens and panels, in equal parts of what GroupPanelsAmx takes at once.
inline void group_panel_amx(const PanelTask& task, std::size_t group) {
    constexpr std::size_t kRows = GroupPanelsAmx::kMostPanels * kTernaryRows;
    const std::size_t parts = (task.n_tokens + GroupPanelsAmx::kMostTokens - 1) / GroupPanelsAmx::kMostTokens;
    const std::size_t width = (task.n_tokens + parts - 1) / parts;
    for (std::size_t row = 0; row < task.rows; row += kRows)
        for (std::size_t t = 0; t < task.n_tokens; t += width) {
            PanelTask part = task;
            part.panels += row / kTernaryRows * GroupPanels{task.cols, group}.bytes();
            part.rows = smaller(task.rows - row, kRows);
            part.x.high += t * task.x.stride;
            part.x.low += t * task.x.stride;
            part.x.scales += t;
            part.n_tokens = smaller(width, task.n_tokens - t);
            part.out.data += t * task.out.stride + row;
            GroupPanelsAmx::dot(part, group);
        }
}

}  // namespace
}  // namespace sterna

// Products of INT4 panels (int4_panels.hpp) and many tokens with the tiles of AMX, as in ternary_panel_amx.hpp: A is a
// tile of tokens, B the codes of a panel, C the sums over a group, for two panels and two tiles of tokens. A group of
// columns is multiplied with all panels and tokens of a call before the next one.
#pragma once

#include "int4_panels.hpp"
#include "ternary_panel_amx.hpp"

namespace sterna {
namespace {

class Int4Amx {
public:
    static constexpr std::size_t kMostTokens = 64, kMostPanels = 4;  // their products stay in L1

    // At most kMostTokens tokens and kMostPanels panels; groups of 64 or 128 columns; int8 activations.
    static void dot(const Int4Task& task) {
        const std::size_t groups = task.cols / task.group, steps = task.group / kTileColumns;
        const std::size_t panel_bytes = groups * int4_group_bytes(task.group);
        const std::size_t tiles = (task.n_tokens + 2 * kTileLines - 1) / (2 * kTileLines) * 2;
        const std::size_t height = (task.n_tokens + tiles - 1) / tiles;
        const std::size_t n_panels = (task.rows + kInt4Rows - 1) / kInt4Rows;
        const auto first_token = [&](std::size_t tile) { return smaller(tile * height, task.n_tokens - height); };
        const Tiles configured(kFirstB, height);

        alignas(64) std::uint8_t codes[2][kMostSteps][kTileBytes];
        alignas(64) std::int32_t sums[2][2][2][kTileLines][kInt4Rows];  // [turn][panel][tile]
        alignas(64) float products[kMostPanels][kMostTokens / kTileLines][kTileLines][kInt4Rows];
        std::memset(products, 0, n_panels * sizeof(products[0]));
        for (std::size_t g = 0; g < groups; ++g)
            for (std::size_t pair = 0; pair < n_panels; pair += 2) {
                __m512 d[2], z[2];
                for (std::size_t p = 0; p < 2; ++p) {  // past the end, the last panel is repeated
                    const std::uint8_t* at =
                        task.panels + smaller(pair + p, n_panels - 1) * panel_bytes + g * int4_group_bytes(task.group);
                    d[p] = halfs(at);
                    z[p] = _mm512_sub_ps(_mm512_setzero_ps(), halfs(at + 2 * kInt4Rows));
                    unpack(at, task.group / kInt4LineColumns, codes[p][0]);
                }
                const auto multiplied = [&](std::size_t tile) {
                    const std::int8_t* x = task.x[0].codes + g * task.group;
                    multiply(x + first_token(tile) * task.stride, x + first_token(tile + 1) * task.stride, task.stride,
                             steps, codes, sums[tile / 2 % 2]);
                };
                multiplied(0);
                for (std::size_t tile = 0; tile < tiles; tile += 2) {
                    if (tile + 2 < tiles) multiplied(tile + 2);
                    for (std::size_t p = 0; p < 2 && pair + p < n_panels; ++p)
                        for (std::size_t i = 0; i < 2; ++i)
                            add(task, first_token(tile + i), height, g, groups, sums[tile / 2 % 2][p][i], d[p], z[p],
                                products[pair + p][tile + i]);
                }
            }
        for (std::size_t panel = 0; panel < n_panels; ++panel)
            for (std::size_t tile = 0; tile < tiles; ++tile) {
                const std::size_t row = panel * kInt4Rows, token = first_token(tile);
                const auto kept = static_cast<__mmask16>((1u << smaller(task.rows - row, kInt4Rows)) - 1);
                for (std::size_t t = 0; t < height; ++t)
                    _mm512_mask_storeu_ps(task.out.data + (token + t) * task.out.stride + row, kept,
                                          _mm512_load_ps(products[panel][tile][t]));
            }
    }

private:
    // Tiles 0 to 3 belong to C, 4 and 5 to A, 6 and 7 to B.
    static constexpr std::size_t kMostSteps = 2, kFirstA = 4, kFirstB = 6;
    using Codes = std::uint8_t[2][kMostSteps][kTileBytes];
    using Sums = std::int32_t[2][2][kTileLines][kInt4Rows];

    static __m512 halfs(const std::uint8_t* at) {
        return _mm512_maskz_cvtph_ps(0xffff, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(at)));
    }

    // The codes of a group that begins at `at`, each line as two of B; fetches the next group.
    static void unpack(const std::uint8_t* at, std::size_t lines, std::uint8_t* out) {
        const __m512i mask = _mm512_set1_epi8(15);
        const std::size_t ahead = (lines + 1) * kInt4Line;
        for (std::size_t i = 1; i <= lines; ++i, out += 2 * kInt4Line) {
            const __m512i w = _mm512_loadu_si512(at + i * kInt4Line);
            _mm_prefetch(reinterpret_cast<const char*>(at + i * kInt4Line + ahead), _MM_HINT_T0);
            _mm512_store_si512(out, _mm512_and_si512(w, mask));
            _mm512_store_si512(out + kInt4Line, _mm512_and_si512(_mm512_srli_epi16(w, 4), mask));
        }
    }

    static void multiply(const std::int8_t* first, const std::int8_t* second, std::size_t stride, std::size_t steps,
                         const Codes& codes, Sums& sums) {
        tile_zero<0>();
        tile_zero<1>();
        tile_zero<2>();
        tile_zero<3>();
        for (std::size_t step = 0; step < steps; ++step, first += kTileColumns, second += kTileColumns) {
            tile_load<kFirstA>(first, stride);
            tile_load<kFirstB>(codes[0][step], 64);
            tile_multiply_add<0, kFirstA, kFirstB>();
            tile_load<kFirstA + 1>(second, stride);
            tile_multiply_add<1, kFirstA + 1, kFirstB>();
            tile_load<kFirstB + 1>(codes[1][step], 64);
            tile_multiply_add<2, kFirstA, kFirstB + 1>();
            tile_multiply_add<3, kFirstA + 1, kFirstB + 1>();
        }
        tile_store<0>(sums[0][0]);
        tile_store<1>(sums[0][1]);
        tile_store<2>(sums[1][0]);
        tile_store<3>(sums[1][1]);
    }

    // Adds the sums of a group to the products of the first n tokens of a tile.
    static void add(const Int4Task& task, std::size_t token, std::size_t n, std::size_t g, std::size_t groups,
                    const std::int32_t (&sums)[kTileLines][kInt4Rows], const __m512& d, const __m512& z,
                    float (&products)[kTileLines][kInt4Rows]) {
        const float *x = task.x[0].sums + token * groups + g, *factors = task.factors + token * groups + g;
        for (std::size_t t = 0; t < n; ++t, x += groups, factors += groups) {
            const __m512 sum = _mm512_maskz_cvtepi32_ps(0xffff, _mm512_load_si512(sums[t]));
            const __m512 difference = _mm512_fmadd_ps(z, _mm512_set1_ps(*x), sum);
            const __m512 scale = _mm512_mul_ps(d, _mm512_set1_ps(*factors));
            _mm512_store_ps(products[t], _mm512_fmadd_ps(difference, scale, _mm512_load_ps(products[t])));
        }
    }
};

// Any number of tokens and panels, in equal parts of what Int4Amx takes at once.
inline void int4_amx(const Int4Task& task) {
    constexpr std::size_t kRows = Int4Amx::kMostPanels * kInt4Rows;
    const std::size_t groups = task.cols / task.group, panel_bytes = groups * int4_group_bytes(task.group);
    const std::size_t parts = (task.n_tokens + Int4Amx::kMostTokens - 1) / Int4Amx::kMostTokens;
    const std::size_t width = (task.n_tokens + parts - 1) / parts;
    for (std::size_t row = 0; row < task.rows; row += kRows)
        for (std::size_t t = 0; t < task.n_tokens; t += width) {
            Int4Task part = task;
            part.panels += row / kInt4Rows * panel_bytes;
            part.rows = smaller(task.rows - row, kRows);
            part.x[0].codes += t * task.stride;
            part.x[0].sums += t * groups;
            part.factors += t * groups;
            part.n_tokens = smaller(width, task.n_tokens - t);
            part.out.data += t * task.out.stride + row;
            Int4Amx::dot(part);
        }
}

}  // namespace
}  // namespace sterna

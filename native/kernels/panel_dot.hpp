// Products of panels (panels.hpp) and tokens: a few tokens take codes from registers, many meet tiles in L1. Both give
// the same bits. Compiled once per ISA; internal linkage.
#pragma once

#if defined(__AVX2__)
#include "panel_tiles.hpp"
#else
#include "panel_rows.hpp"
#endif
#include "ternary_group_dot.hpp"

namespace sterna {
namespace {

// kPass: most tokens of a pass over the panels. kMostInRows: up to so many that are left go in passes by rows
// (panel_rows.hpp), which unpack a panel anew each, but write no unpacked copy of it. NEON's sdot makes sixteen
// products where its 16-bit instructions make four, so tiles are never faster there.
#if defined(__AVX512F__)
constexpr std::size_t kPass = kPassTokens, kMostInRows = 12;
#elif defined(__AVX2__)
constexpr std::size_t kPass = kPassTokens, kMostInRows = kMostRowTokens;
#else
constexpr std::size_t kPass = kMostRowTokens, kMostInRows = kMostRowTokens;
#endif

template <class Format>
void panel_tokens(const PanelTask& task) {
    for (std::size_t t = 0, n; t < task.n_tokens; t += n) {
        const std::size_t left = task.n_tokens - t;
        const std::size_t most = left <= kMostInRows ? kMostRowTokens : kPass;
        n = left < most ? left : most;
        if (n <= kMostRowTokens) panel_rows_of<Format>(std::make_index_sequence<kMostRowTokens>(), task, t, n);
#if defined(__AVX2__)
        else
            panel_tiles<Format>(std::make_index_sequence<kTileTokens>(), task, t, n);
#endif
    }
}

void panel_dot(const PanelTask& task) {
    with_block_format(task.encoding, [&]<class Format>(Format) {
        if constexpr (Format::kTernary)
            group_panel_dot(task, Format::kValues);
        else
            panel_tokens<Format>(task);
    });
}

}  // namespace
}  // namespace sterna

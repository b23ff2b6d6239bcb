#include "ternary_panels.hpp"

#include <algorithm>

#include "../../kernels/dispatch.hpp"
#include "lookup_tiles.hpp"
#include "lookup_trial.hpp"

namespace sterna {
namespace {

// The activations of a pass of 128 tokens stay in L2 while rows are read once for all of them.
constexpr std::size_t kTokens = 128;
constexpr std::size_t kManyTokens = 5;  // from here on panels go in pairs, and a chunk is not one long read
constexpr std::size_t kChunk = 4, kLongRead = 65536;

}  // namespace

TernaryPanels::TernaryPanels(const Ternary& matrix)
    : Linear(matrix),
      has_lookup_(out_features_ >= kLeastLookupRows && lookup_wins(kernels_)),
      panel_bytes_(kTileRows * row_bytes_) {}

void TernaryPanels::pack(std::size_t first, std::size_t last, std::uint8_t* memory) const {
    kernels_.pack_ternary_panels(rows(first, last), padded(in_features_), memory + first / kTileRows * panel_bytes_);
}

std::size_t TernaryPanels::scratch() const {
    return has_lookup_ ? kLookupScratch / sizeof(float) : 0;
}

Division TernaryPanels::division(std::size_t n_tokens, std::size_t n_threads) const {
    if (has_lookup_ && n_tokens >= kLeastLookupTokens)
        if (const auto tables = lookup_division(out_features_, kLookupRows, n_tokens, n_threads)) return *tables;
    const std::size_t pieces = parts(n_tokens, kTokens), tokens = parts(n_tokens, pieces);
    const std::size_t chunk = n_tokens < kManyTokens ? std::max<std::size_t>(kLongRead / panel_bytes_, 1) : kChunk;
    return {kTileRows, tokens, parts(n_tokens, tokens) * parts(out_features_, kTileRows), chunk};
}

void TernaryPanels::multiply_rows(const Activations& x, std::size_t first, std::size_t last, const Division& division,
                                  float* scratch, const Products& out) const {
    const auto task = [&](std::size_t r, std::size_t end, const Activations& part, std::size_t token) {
        return TernaryPanelTask{data_ + r / kTileRows * panel_bytes_,
                                end - r,
                                scale_,
                                part.int8,
                                part.n_tokens,
                                padded(in_features_),
                                fetch_distance(),
                                {out.data + token * out.stride + r, out.stride}};
    };
    const auto lookup = [&](const TernaryPanelTask& tile) {
        kernels_.panel_lookup_dot(tile, reinterpret_cast<std::uint8_t*>(scratch));
    };
    if (division.rows == kTileRows) return kernels_.ternary_panel_dot(task(first, last, x, 0));
    multiply_by_lookup(x, first, last, division, task, lookup, kernels_.ternary_panel_dot);
}

}  // namespace sterna

#include "ternary_panels.hpp"

#include <algorithm>

#include "../../kernels/dispatch.hpp"

namespace sterna {
namespace {

// The activations of a pass of 128 tokens stay in L2 while rows are read once for all of them.
constexpr std::size_t kTokens = 128;
constexpr std::size_t kManyTokens = 5;  // from here on panels go in pairs, and a chunk is not one long read
constexpr std::size_t kChunk = 4, kLongRead = 65536;

}  // namespace

void TernaryPanels::pack(std::size_t first, std::size_t last, std::uint8_t* memory) const {
    kernels_.pack_ternary_panels(rows(first, last), padded(in_features_), memory + first / kTileRows * panel_bytes_);
}

Division TernaryPanels::division(std::size_t n_tokens, std::size_t) const {
    const std::size_t pieces = parts(n_tokens, kTokens), tokens = parts(n_tokens, pieces);
    const std::size_t chunk = n_tokens < kManyTokens ? std::max<std::size_t>(kLongRead / panel_bytes_, 1) : kChunk;
    return {kTileRows, tokens, parts(n_tokens, tokens) * parts(out_features_, kTileRows), chunk};
}

void TernaryPanels::multiply_rows(const Activations& x, std::size_t first, std::size_t last, const Division&, float*,
                                  const Products& out) const {
    kernels_.ternary_panel_dot({data_ + first / kTileRows * panel_bytes_,
                                last - first,
                                scale_,
                                x.int8,
                                x.n_tokens,
                                padded(in_features_),
                                fetch_distance(),
                                {out.data + first, out.stride}});
}

}  // namespace sterna

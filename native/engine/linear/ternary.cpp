#include "ternary.hpp"

#include "lookup_tiles.hpp"
#include "ternary_panels.hpp"

namespace sterna {

bool Ternary::has_lookup() const {
    return kernels_.lookup_dot != nullptr && out_features_ >= kLeastLookupRows;
}

std::unique_ptr<Linear> Ternary::repacked() const {
    return in_features_ <= kMaxPanelColumns ? std::make_unique<TernaryPanels>(*this) : nullptr;
}

std::size_t Ternary::scratch() const {
    const bool panels_may = kernels_.panel_lookup_dot != nullptr && out_features_ >= kLeastLookupRows;
    return has_lookup() || panels_may ? kLookupScratch / sizeof(float) : 0;
}

Division Ternary::division(std::size_t n_tokens, std::size_t n_threads) const {
    constexpr std::size_t kMost = 1280;  // the best height on Zen 3 (docs/experiments.md)
    if (n_tokens >= kLeastLookupTokens && has_lookup())
        if (const auto tables = lookup_division(out_features_, kMost, n_tokens, n_threads)) return *tables;
    return Linear::division(n_tokens, n_threads);
}

void Ternary::multiply_rows(const Activations& x, std::size_t first, std::size_t last, const Division& division,
                            float* scratch, const Products& out) const {
    const auto task = [&](std::size_t r, std::size_t end, const Activations& part, std::size_t token) {
        return TernaryTask{rows(r, end),
                           scale_,
                           part.int8,
                           part.n_tokens,
                           padded(in_features_),
                           {out.data + token * out.stride + r, out.stride}};
    };
    const auto lookup = [&](const TernaryTask& tile) {
        kernels_.lookup_dot(tile, reinterpret_cast<std::uint8_t*>(scratch));
    };
    if (division.rows == kTileRows) return kernels_.ternary_dot(task(first, last, x, 0));
    multiply_by_lookup(x, first, last, division, task, lookup, kernels_.ternary_dot);
}

}  // namespace sterna

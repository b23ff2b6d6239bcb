#include "ternary.hpp"

#include <algorithm>

#include "ternary_panels.hpp"

namespace sterna {
namespace {

// Lookup tables gain nothing with fewer rows or fewer tokens: filling the tables costs about as much as 100 rows, and
// all tokens share the computation of which entry a byte of codes needs.
constexpr std::size_t kLeastRows = 512, kLeastTokens = 2 * kLookupGroup;

}  // namespace

bool Ternary::has_lookup() const {
    return kernels_.lookup_dot != nullptr && out_features_ >= kLeastRows;
}

std::unique_ptr<Linear> Ternary::repacked() const {
    return in_features_ <= kMaxPanelColumns ? std::make_unique<TernaryPanels>(*this) : nullptr;
}

std::size_t Ternary::scratch() const {
    return has_lookup() ? kLookupScratch / sizeof(float) : 0;
}

Division Ternary::division(std::size_t n_tokens, std::size_t n_threads) const {
    if (n_tokens < kLeastTokens || !has_lookup()) return Linear::division(n_tokens, n_threads);
    // Tiles with many rows, the same number for each thread. If there are too few rows for that, the tokens are
    // divided, too.
    const std::size_t even = parts(parts(out_features_, kLookupRows), n_threads) * n_threads;
    const std::size_t tiles = std::min(even, out_features_ / kLeastRows);
    const std::size_t rows = parts(parts(out_features_, tiles), kTileRows) * kTileRows;
    const std::size_t pieces = std::max(parts(n_tokens, kLookupTokens), parts(n_threads, tiles));
    const std::size_t tokens = parts(parts(n_tokens, pieces), kLookupGroup) * kLookupGroup;
    return {rows, tokens, parts(n_tokens, tokens) * parts(out_features_, rows), 1};
}

// Whole groups of tokens are multiplied by lookup tables, the other tokens by ternary_dot, while the codes of the same
// rows are in L2.
void Ternary::multiply_rows(const Activations& x, std::size_t first, std::size_t last, const Division& division,
                            float* scratch, const Products& out) const {
    const std::size_t n = padded(in_features_);
    const auto task = [&](std::size_t r, std::size_t end, const Activations& part, std::size_t token) {
        return TernaryTask{rows(r, end),  scale_, part.int8,
                           part.n_tokens, n,      {out.data + token * out.stride + r, out.stride}};
    };
    if (division.rows == kTileRows) return kernels_.ternary_dot(task(first, last, x, 0));
    const std::size_t whole = x.n_tokens / kLookupGroup * kLookupGroup;
    for (std::size_t r = first; r < last; r += division.rows) {
        const std::size_t end = std::min(r + division.rows, last);
        if (whole > 0) kernels_.lookup_dot(task(r, end, x.part(0, whole), 0), reinterpret_cast<std::uint8_t*>(scratch));
        if (whole < x.n_tokens) kernels_.ternary_dot(task(r, end, x.part(whole, x.n_tokens - whole), whole));
    }
}

}  // namespace sterna

// How a product of ternary rows, in either layout, is divided where lookup tables compute it.
#pragma once

#include <algorithm>
#include <optional>

#include "linear.hpp"

namespace sterna {

// Lookup tables gain nothing with fewer rows or fewer tokens: filling the tables costs about as much as 100 rows, and
// all tokens share the computation of which entry a byte of codes needs.
inline constexpr std::size_t kLeastLookupRows = 512, kLeastLookupTokens = 2 * kLookupGroup;

// Tiles with many rows, at most `most`, in a number that gives each thread as many. If there are too few rows for that,
// the tokens are divided, too. No division if a thread would be idle even then.
inline std::optional<Division> lookup_division(std::size_t out_features, std::size_t most, std::size_t n_tokens,
                                               std::size_t n_threads) {
    const std::size_t even = parts(parts(out_features, most), n_threads) * n_threads;
    const std::size_t high = std::min(even, out_features / kLeastLookupRows);
    const std::size_t wanted = std::max(parts(n_tokens, kLookupTokens), parts(n_threads, high));
    const std::size_t tokens = parts(parts(n_tokens, wanted), kLookupGroup) * kLookupGroup;
    const std::size_t pieces = parts(n_tokens, tokens), tiles = high * pieces / n_threads * n_threads / pieces;
    if (tiles == 0) return std::nullopt;
    const std::size_t rows = parts(parts(out_features, tiles), kTileRows) * kTileRows;
    return Division{rows, tokens, pieces * parts(out_features, rows), 1};
}

// Multiplies rows first <= r < last in tiles of such a division. lookup(task) takes whole groups of tokens, dot(task)
// the others, while the codes of the same rows are in L2; task(r, end, tokens, token) makes their tasks.
template <class MakeTask, class Lookup, class Dot>
void multiply_by_lookup(const Activations& x, std::size_t first, std::size_t last, const Division& division,
                        const MakeTask& task, const Lookup& lookup, const Dot& dot) {
    const std::size_t whole = x.n_tokens / kLookupGroup * kLookupGroup;
    for (std::size_t r = first; r < last; r += division.rows) {
        const std::size_t end = std::min(r + division.rows, last);
        if (whole > 0) lookup(task(r, end, x.part(0, whole), 0));
        if (whole < x.n_tokens) dot(task(r, end, x.part(whole, x.n_tokens - whole), whole));
    }
}

}  // namespace sterna

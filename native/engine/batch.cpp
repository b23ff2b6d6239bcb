#include "batch.hpp"

#include <algorithm>
#include <stdexcept>
#include <string>

namespace sterna {

void Batch::check(std::size_t vocab_size, std::span<const Cache> caches) {
    const auto require = [](bool good, const char* what) {
        if (!good) throw std::invalid_argument(std::string("A batch is malformed: ") + what + ".");
    };
    const std::size_t n = tokens.size();
    require(n > 0 && positions.size() == n, "tokens and positions differ in length or are empty");
    require(cu_seqlens.size() >= 2 && cu_seqlens.front() == 0 && cu_seqlens.back() == static_cast<std::int32_t>(n),
            "cu_seqlens must run from 0 to the number of tokens");
    require(std::is_sorted(cu_seqlens.begin(), cu_seqlens.end()), "cu_seqlens must not fall");
    const std::size_t n_seqs = cu_seqlens.size() - 1;
    require(block_tables.size() == caches.size(), "there must be a block table for each cache group");
    for (const auto* tables : {&block_tables, &state_tables})
        for (const BlockTable& table : *tables)
            require(table.entries.size() == n_seqs * table.width, "a block table must have one row a sequence");
    require(adapter_ids.size() == n_seqs, "adapter_ids must have one entry a sequence");
    sequence_of.resize(n);
    for (std::size_t s = 0; s < n_seqs; ++s)
        std::fill(sequence_of.begin() + cu_seqlens[s], sequence_of.begin() + cu_seqlens[s + 1],
                  static_cast<std::int32_t>(s));
    for (std::size_t t = 0; t < n; ++t) {
        require(tokens[t] >= 0 && static_cast<std::size_t>(tokens[t]) < vocab_size,
                "a token id is outside the vocabulary");
        require(positions[t] >= 0, "a position is negative");
        const bool follows = t > 0 && sequence_of[t] == sequence_of[t - 1] && positions[t] == positions[t - 1] + 1;
        if (follows && stretches.back().count < Stretch::kMost)
            ++stretches.back().count;
        else
            stretches.push_back({t, 1});
        for (std::size_t c = 0; c < caches.size(); ++c) {
            require(position(t) / kBlockSize < block_tables[c].width, "a position is outside its block table");
            const std::int32_t* blocks = blocks_of(c, t);
            // A token sees its own block and those that the token before it sees, except perhaps the oldest. So if it
            // follows the token before it, only its own block is left to check.
            const std::size_t last = position(t) / kBlockSize;
            const std::size_t first = follows ? last : first_seen(caches[c].window, position(t)) / kBlockSize;
            for (std::size_t b = first; b <= last; ++b) {
                const auto block = static_cast<std::size_t>(blocks[b]);
                require(blocks[b] >= 0 && block < caches[c].pool->blocks(), "a block is outside the pool");
                caches[c].pool->provide(block);
            }
        }
    }
    for (const std::int32_t row : output_rows)
        require(row >= 0 && static_cast<std::size_t>(row) < n, "an output row is outside the batch");
}

}  // namespace sterna

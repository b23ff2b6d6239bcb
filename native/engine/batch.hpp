// The tokens of one forward pass: any mixture of prefill chunks and decode steps of several sequences.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "adapter.hpp"
#include "kv_pool.hpp"

namespace sterna {

// Tokens at consecutive positions of one sequence, at most kMost, whose attention is computed together.
struct Stretch {
    static constexpr std::size_t kMost = 8;
    std::size_t first, count;
};

// The block table of a cache group: entry i of a sequence's row is the block that holds its positions
// 64 i .. 64 i + 63. Entries of blocks that no token of the batch sees may hold anything.
struct BlockTable {
    std::span<const std::int32_t> entries;  // [n_seqs, width]
    std::size_t width = 0;
};

// Tokens of sequence s are cu_seqlens[s] .. cu_seqlens[s + 1].
struct Batch {
    std::span<const std::int32_t> tokens;       // [n]
    std::span<const std::int32_t> positions;    // [n], position of each token in its sequence
    std::span<const std::int32_t> cu_seqlens;   // [n_seqs + 1]
    std::vector<BlockTable> block_tables;       // one a cache group
    std::vector<BlockTable> state_tables;       // one a state group: slots in place of blocks
    std::span<const std::int32_t> adapter_ids;  // [n_seqs]; 0: none, else the number of a mix, counted from 1
    std::span<const Mix> mixes;
    std::span<const std::int32_t> output_rows;  // indices of the tokens whose hidden rows are wanted
    std::vector<std::int32_t> sequence_of;      // [n], filled by check()
    std::vector<Stretch> stretches;             // all tokens, filled by check()

    // Throws std::invalid_argument where sizes disagree or an index is out of range. `caches`: the groups' pools.
    void check(std::size_t vocab_size, std::span<const Cache> caches);
    std::size_t size() const { return tokens.size(); }
    std::size_t position(std::size_t token) const { return static_cast<std::size_t>(positions[token]); }
    const std::int32_t* blocks_of(std::size_t cache, std::size_t token) const {
        const BlockTable& table = block_tables[cache];
        return table.entries.data() + static_cast<std::size_t>(sequence_of[token]) * table.width;
    }
};

}  // namespace sterna

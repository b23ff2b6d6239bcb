// How a pass continues the sequences of one state group: each sequence's tokens, cut where blocks of 64 positions
// begin.
#pragma once

#include <vector>

#include "batch.hpp"
#include "state_pool.hpp"

namespace sterna {

class StateWork {
public:
    // Where the state at the beginning of a segment comes from: the slot continues; zeros; that of `source`; or that
    // of `source` after the 64 rows of its block.
    enum class Origin : std::uint8_t { continues, zeros, copies, advances };

    // Consecutive tokens of one sequence in one block.
    struct Segment {
        std::size_t first, count;  // tokens of the batch
        std::size_t position;      // of the first token
        std::size_t slot, source;
        Origin origin;
        std::size_t row() const { return position % kBlockSize; }
    };

    // Throws std::invalid_argument where the slots of a sequence do not hold what its tokens continue, or where two
    // sequences share a slot that one of them writes.
    StateWork(const Batch& batch, const BlockTable& table, const StatePool& pool);

    const StatePool& pool() const { return *pool_; }
    std::size_t sequences() const { return ends_.size(); }
    std::span<const Segment> segments(std::size_t sequence) const {
        const std::size_t begin = sequence == 0 ? 0 : ends_[sequence - 1];
        return {segments_.data() + begin, ends_[sequence] - begin};
    }
    // What the pool's slots hold after the pass.
    const std::vector<StatePool::Content>& contents() const { return contents_; }

private:
    const StatePool* pool_;
    std::vector<Segment> segments_;
    std::vector<std::size_t> ends_;  // where each sequence's segments end
    std::vector<StatePool::Content> contents_;
};

}  // namespace sterna

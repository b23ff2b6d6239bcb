#include "state_work.hpp"

#include <algorithm>
#include <stdexcept>
#include <string>

namespace sterna {
namespace {

void require(bool good, const char* what) {
    if (!good) throw std::invalid_argument(std::string("A batch is malformed: ") + what + ".");
}

}  // namespace

StateWork::StateWork(const Batch& batch, const BlockTable& table, const StatePool& pool)
    : pool_(&pool), contents_(pool.contents) {
    using Content = StatePool::Content;
    std::vector<std::size_t> writers(pool.slots(), Content::kNothing);
    for (std::size_t s = 0; s + 1 < batch.cu_seqlens.size(); ++s) {
        const auto first = static_cast<std::size_t>(batch.cu_seqlens[s]);
        const auto last = static_cast<std::size_t>(batch.cu_seqlens[s + 1]);
        const auto slot_of = [&](std::size_t block) {
            require(block < table.width, "a position is outside its block table");
            const std::int32_t slot = table.entries[s * table.width + block];
            require(slot >= 0 && static_cast<std::size_t>(slot) < pool.slots(), "a state slot is outside the pool");
            pool.provide(static_cast<std::size_t>(slot));
            return static_cast<std::size_t>(slot);
        };
        for (std::size_t t = first; t < last;) {
            const std::size_t position = batch.position(t), block = position / kBlockSize;
            const std::size_t count = std::min(last - t, kBlockSize - position % kBlockSize);
            for (std::size_t i = 1; i < count; ++i)
                require(batch.position(t + i) == position + i, "positions of a sequence with a state must follow");
            require(t == first || position == batch.position(t - 1) + 1,
                    "positions of a sequence with a state must follow");
            Segment segment{t, count, position, slot_of(block), 0, Origin::continues};
            segment.source = segment.slot;
            Content& held = contents_[segment.slot];
            if (position == 0) {
                segment.origin = Origin::zeros;
            } else if (position % kBlockSize == 0) {
                segment.source = slot_of(block - 1);
                const Content& before = contents_[segment.source];
                const bool is_full = before.block == block - 1 && before.end == position;
                require(is_full || before.block == block, "a state is not that of the tokens before");
                segment.origin = is_full                          ? Origin::advances
                                 : segment.source != segment.slot ? Origin::copies
                                                                  : Origin::continues;
            } else {
                require(held.block == block && held.end >= position && held.end <= position + StatePool::kRewind,
                        "a state is not that of the tokens before");
            }
            writers[segment.slot] = s;
            held = {block, position + count};
            segments_.push_back(segment);
            t += count;
        }
        ends_.push_back(segments_.size());
    }
    for (std::size_t s = 0; s < ends_.size(); ++s)
        for (const Segment& segment : segments(s))
            require(writers[segment.slot] == s &&
                        (writers[segment.source] == s || writers[segment.source] == Content::kNothing),
                    "two sequences share a state slot");
}

}  // namespace sterna

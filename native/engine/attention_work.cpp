#include "attention_work.hpp"

#include <algorithm>

namespace sterna {
namespace {

// Stretches are divided only if there are fewer than kPiecesPerThread pairs of a stretch and a kv head for each thread,
// with which some threads would wait, and only if the sums of all pieces take at most kMostSums floats.
constexpr std::size_t kPiecesPerThread = 8, kMostSums = std::size_t{1} << 22;

}  // namespace

AttentionWork::AttentionWork(const Batch& batch, const Cache& cache, std::size_t group, std::size_t n_threads)
    : group_(group), head_stride_(cache.pool->head_stride()) {
    const std::size_t kv_heads = cache.pool->kv_heads();
    const auto range = [&](const Stretch& stretch) {
        const std::size_t position = batch.position(stretch.first);
        return std::pair{first_seen(cache.window, position) / kBlockSize * kBlockSize, position + stretch.count};
    };
    const auto segments = [&](const Stretch& stretch) {
        const auto [first, last] = range(stretch);
        return (last - 1) / kSegment - first / kSegment + 1;
    };
    std::size_t floats = 0;
    for (const Stretch& stretch : batch.stretches)
        if (segments(stretch) > 1)
            floats += segments(stretch) * kv_heads * attention_sums(stretch.count * group, head_stride_);
    const bool split = batch.stretches.size() * kv_heads < kPiecesPerThread * n_threads && floats <= kMostSums;
    if (split && floats > 0) memory_ = Buffer<float>(floats);

    stretch_of_.resize(batch.size());
    std::size_t used = 0;
    for (std::size_t s = 0; s < batch.stretches.size(); ++s) {
        const Stretch& stretch = batch.stretches[s];
        counts_.push_back(stretch.count);
        std::fill_n(stretch_of_.begin() + static_cast<std::ptrdiff_t>(stretch.first), stretch.count, s);
        const auto [first, last] = range(stretch);
        const std::size_t begin = pieces_.size();
        if (!split || segments(stretch) == 1) {
            pieces_.push_back({s, first, last, kNone});
            ranges_.push_back({begin, begin});
            continue;
        }
        for (std::size_t at = first; at < last; at = (at / kSegment + 1) * kSegment) {
            pieces_.push_back({s, at, std::min(last, (at / kSegment + 1) * kSegment), used});
            used += kv_heads * attention_sums(stretch.count * group, head_stride_);
        }
        ranges_.push_back({begin, pieces_.size()});
    }
}

AttentionSums AttentionWork::sums(const Piece& piece, std::size_t kv_head) const {
    const std::size_t n = rows(piece.stretch);
    return attention_sums_at(memory_.get() + piece.sums + kv_head * attention_sums(n, head_stride_), n, head_stride_);
}

}  // namespace sterna

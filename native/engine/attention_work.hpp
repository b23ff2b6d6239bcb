// How the attention of one cache group is divided into pieces that threads share.
//
// Positions fall into segments of kSegment positions, whatever the batch. The sums of a row over each segment are
// computed separately and merged in order, so the result is the same to the bit whether one thread computes all
// segments of the row or different threads do. Segments go to different threads where there are too few rows to keep
// all threads busy.
#pragma once

#include <cstddef>
#include <vector>

#include "batch.hpp"
#include "buffer.hpp"

namespace sterna {

class AttentionWork {
public:
    static constexpr std::size_t kSegment = 512;  // positions; a multiple of kBlockSize

    // The attention of a stretch over positions first .. last - 1. If a stretch has several pieces, they keep their
    // sums for a merge.
    struct Piece {
        std::size_t stretch, first, last;
        std::size_t sums;  // where its sums begin, in floats; kNone: the piece is the whole stretch
    };
    static constexpr std::size_t kNone = static_cast<std::size_t>(-1);

    // `group` query heads share each of the cache's kv heads.
    AttentionWork(const Batch& batch, const Cache& cache, std::size_t group, std::size_t n_threads);

    const std::vector<Piece>& pieces() const { return pieces_; }
    // The range of the pieces of a token's stretch, first and last + 1, if the stretch has several; else an empty
    // range.
    std::pair<std::size_t, std::size_t> pieces_of(std::size_t token) const { return ranges_[stretch_of_[token]]; }
    std::size_t stretch_of(std::size_t token) const { return stretch_of_[token]; }
    std::size_t rows(std::size_t stretch) const { return counts_[stretch] * group_; }
    AttentionSums sums(const Piece& piece, std::size_t kv_head) const;

private:
    std::vector<Piece> pieces_;
    std::vector<std::pair<std::size_t, std::size_t>> ranges_;  // [stretches]
    std::vector<std::size_t> stretch_of_, counts_;             // [tokens], [stretches]
    std::size_t group_, head_stride_;
    Buffer<float> memory_;
};

}  // namespace sterna

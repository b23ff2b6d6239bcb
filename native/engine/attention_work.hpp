// How the attention of one cache group divides into pieces that threads share.
//
// Positions fall into segments of kSegment, whatever the batch: a row's sums over each segment are computed by
// themselves and merged in order, so its result is the same to the bit whether one thread does all segments of it or
// each goes to another thread. That is done where there are too few rows to keep all threads busy.
#pragma once

#include <cstddef>
#include <vector>

#include "batch.hpp"
#include "buffer.hpp"

namespace sterna {

class AttentionWork {
public:
    static constexpr std::size_t kSegment = 512;  // positions; a multiple of a block's

    // A stretch over the positions first .. last - 1; one of several pieces of it keeps its sums for a merge.
    struct Piece {
        std::size_t stretch, first, last;
        std::size_t sums;  // where its sums begin, in floats; kNone: the piece is the whole stretch
    };
    static constexpr std::size_t kNone = static_cast<std::size_t>(-1);

    // `group` query heads share each of the cache's kv heads.
    AttentionWork(const Batch& batch, const Cache& cache, std::size_t group, std::size_t n_threads);

    const std::vector<Piece>& pieces() const { return pieces_; }
    // The pieces of the stretch that a token is in, if there are several: first and last + 1; else none.
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

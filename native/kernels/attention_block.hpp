// Shared by the attention of all cache types: a block as the tokens of a task see it, and loops over query heads.
#pragma once

#include "kernels.hpp"

namespace sterna {
namespace {

inline std::size_t least(std::size_t a, std::size_t b) {
    return a < b ? a : b;
}

// A block of 64 positions. Later tokens see later positions, so the tokens that see any of its positions are the range
// first .. last - 1.
struct KvBlock {
    KvBlock(const AttentionTask& task, const std::uint8_t* data, const std::uint8_t* next, std::size_t start)
        : data(data),
          next(next),
          start(start),
          size(least(kBlockSize, task.last - start)),
          first(start > task.position ? start - task.position : 0),
          last(task.window == 0 ? task.n_tokens
                                : least(task.n_tokens, past(start + size + task.window - 1, task.position))),
          position(task.position),
          window(task.window) {}

    // Token t sees positions begin(t) .. end(t) - 1 of the block.
    std::size_t end(std::size_t t) const { return least(size, past(position + t + 1, start)); }
    std::size_t begin(std::size_t t) const {
        return window == 0 ? 0 : least(size, past(position + t + 1, start + window));
    }

    const std::uint8_t *data, *next;  // this block, and the one after it
    std::size_t start, size;          // the block's first position, and how many of its positions the task has
    std::size_t first, last;
    std::size_t position, window;  // of the task

private:
    static std::size_t past(std::size_t a, std::size_t b) { return a > b ? a - b : 0; }
};

// Prefetches what is read next: a block's values while its keys are read, and the next block's keys while the values
// are summed. These parts lie too far from each other for the hardware prefetcher. Elements are read 32 bytes at a
// time, and every second read fetches a line, since requests in bursts wait for each other. It goes to L2, which can
// wait for more lines at a time than L1. Always inlined, because gcc drops calls of a function that only prefetches.
[[gnu::always_inline]] inline void prefetch(const std::uint8_t* ahead, std::size_t i) {
    if (i % 2 == 0) __builtin_prefetch(ahead + 32 * i, 0, 2);
}

// Calls work.template operator()<G>(g) for query heads g .. g + G - 1 of `group`, four, two or one at a time. The G
// heads share keys and values, so each element is converted once for all of them.
template <class Work>
void by_heads(std::size_t group, const Work& work) {
    std::size_t g = 0;
    for (; g + 4 <= group; g += 4) work.template operator()<4>(g);
    for (; g + 2 <= group; g += 2) work.template operator()<2>(g);
    for (; g < group; ++g) work.template operator()<1>(g);
}

}  // namespace
}  // namespace sterna

// What the attention of every cache type shares: a block as the tokens of a task see it, and query heads in groups.
#pragma once

#include "kernels.hpp"

namespace sterna {
namespace {

struct KvBlock {
    KvBlock(const AttentionTask& task, const std::uint8_t* data, const std::uint8_t* next, std::size_t start)
        : data(data),
          next(next),
          start(start),
          first(start > task.position ? start - task.position : 0),
          position(task.position) {}

    // Positions of the block that a token attends to.
    std::size_t seen(std::size_t t) const {
        const std::size_t end = position + t + 1;
        return end <= start ? 0 : end - start < kBlockSize ? end - start : kBlockSize;
    }

    const std::uint8_t *data, *next;  // this block, and the one after it
    std::size_t start, first;         // the block's first position; the first token that sees any of it
    std::size_t position;             // of the first token
};

// A block's keys come from memory while the values before them are summed, and its values while its keys are: the parts
// lie too far from each other for the processor to foresee them. Elements are read 32 bytes at a time; each time asks
// for as many of what follows, since requests in bursts wait for each other.
inline void prefetch(const std::uint8_t* ahead, std::size_t i) {
    __builtin_prefetch(ahead + 32 * i);
}

// Calls work.template operator()<G>(g) for query heads g .. g + G - 1 of `group`, four, two or one at a time: they
// share keys and values, so that an element is widened once for all of them.
template <class Work>
void by_heads(std::size_t group, const Work& work) {
    std::size_t g = 0;
    for (; g + 4 <= group; g += 4) work.template operator()<4>(g);
    for (; g + 2 <= group; g += 2) work.template operator()<2>(g);
    for (; g < group; ++g) work.template operator()<1>(g);
}

}  // namespace
}  // namespace sterna

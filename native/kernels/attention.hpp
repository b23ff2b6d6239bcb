// Attention of one token over the KV blocks of its sequence, in the manner of FlashAttention (arXiv 2205.14135): blocks
// are merged in index order with a running maximum, so the result depends on the position and the cache alone.
//
// Keys lie transposed in their block, [head_dim][64 positions]: a score is a sum over dimensions in their order,
// sixteen positions at a time, and never folds lanes. Values lie [64 positions][head_stride]: an output is a sum over
// positions in their order, sixteen dimensions at a time. Query heads that share keys and values go up to four at a
// time, so that halfs are converted once for all of them.
#pragma once

#include "float_ops.hpp"

namespace sterna {
namespace {

// scores[g][0..64) = q[g] . key * scale for every position of a block; those past n are not defined.
template <int G>
void block_scores(const float* q, std::size_t head_dim, const std::uint16_t* keys, std::size_t n, float scale,
                  float* scores) {
    for (std::size_t j = 0; j < n; j += kLanes) {
        Lanes acc[G];
        for (int g = 0; g < G; ++g) acc[g] = splat(0.0f);
        for (std::size_t d = 0; d < head_dim; ++d) {
            const Lanes key = load_half(keys + d * kBlockSize + j);
            for (int g = 0; g < G; ++g) acc[g] = fma(splat(q[static_cast<std::size_t>(g) * head_dim + d]), key, acc[g]);
        }
        for (int g = 0; g < G; ++g) store(scores + static_cast<std::size_t>(g) * kBlockSize + j, acc[g] * splat(scale));
    }
}

// out[g] = out[g] * correction[g] + sum over positions of p[g][j] * value[j].
template <int G>
void block_values(const float* p, const std::uint16_t* values, std::size_t head_stride, std::size_t n,
                  const float* correction, float* out) {
    for (std::size_t d = 0; d < head_stride; d += kLanes) {
        Lanes acc[G];
        for (int g = 0; g < G; ++g)
            acc[g] = load(out + static_cast<std::size_t>(g) * head_stride + d) * splat(correction[g]);
        for (std::size_t j = 0; j < n; ++j) {
            const Lanes value = load_half(values + j * head_stride + d);
            for (int g = 0; g < G; ++g)
                acc[g] = fma(splat(p[static_cast<std::size_t>(g) * kBlockSize + j]), value, acc[g]);
        }
        for (int g = 0; g < G; ++g) store(out + static_cast<std::size_t>(g) * head_stride + d, acc[g]);
    }
}

// Turns the scores of n positions into e^(score - maximum), zero past n, with the maximum over this block and the ones
// before; the correction is what earlier sums are worth under the new maximum.
inline void block_softmax(float* scores, std::size_t n, bool first, float& maximum, float& total, float& correction) {
    for (std::size_t j = n; j < kBlockSize; ++j) scores[j] = scores[0];
    Lanes highest = load(scores);
    for (std::size_t j = kLanes; j < kBlockSize; j += kLanes) highest = max(highest, load(scores + j));
    const float block_maximum = max_of(highest), before = maximum;
    maximum = first || block_maximum > before ? block_maximum : before;
    for (std::size_t j = 0; j < kBlockSize; j += kLanes) store(scores + j, exp(load(scores + j) - splat(maximum)));
    for (std::size_t j = n; j < kBlockSize; ++j) scores[j] = 0.0f;
    Lanes sums = splat(0.0f);
    for (std::size_t j = 0; j < kBlockSize; j += kLanes) sums = sums + load(scores + j);
    correction = first ? 0.0f : max_of(exp(splat(before - maximum)));
    total = total * correction + sum(sums);
}

// One block for G of the query heads, which begin at head g of the task.
template <int G>
void attend_block(const AttentionTask& task, std::size_t g, const std::uint16_t* keys, std::size_t n, bool first,
                  float* acc, float* scores, float* maximum, float* total, float* correction) {
    block_scores<G>(task.q + g * task.head_dim, task.head_dim, keys, n, task.scale, scores);
    for (std::size_t i = 0; i < G; ++i)
        block_softmax(scores + i * kBlockSize, n, first, maximum[g + i], total[g + i], correction[i]);
    block_values<G>(scores, keys + task.value_offset, task.head_stride, n, correction, acc + g * task.head_stride);
}

void attention(const AttentionTask& task) {
    float* acc = task.scratch;  // [group, head_stride]
    float* maximum = acc + task.group * task.head_stride;
    float* total = maximum + task.group;
    float scores[4 * kBlockSize], correction[4];
    std::memset(acc, 0, (task.group * task.head_stride + 2 * task.group) * sizeof(float));

    for (std::size_t start = 0, block = 0; start <= task.position; start += kBlockSize, ++block) {
        const std::size_t left = task.position + 1 - start, n = left < kBlockSize ? left : kBlockSize;
        const std::uint16_t* keys = task.pool + static_cast<std::size_t>(task.blocks[block]) * task.block_stride;
        std::size_t g = 0;
        for (; g + 4 <= task.group; g += 4)
            attend_block<4>(task, g, keys, n, block == 0, acc, scores, maximum, total, correction);
        for (; g + 2 <= task.group; g += 2)
            attend_block<2>(task, g, keys, n, block == 0, acc, scores, maximum, total, correction);
        for (; g < task.group; ++g)
            attend_block<1>(task, g, keys, n, block == 0, acc, scores, maximum, total, correction);
    }
    for (std::size_t g = 0; g < task.group; ++g)
        for (std::size_t d = 0; d < task.head_dim; ++d)
            task.out[g * task.head_dim + d] = acc[g * task.head_stride + d] / total[g];
}

}  // namespace
}  // namespace sterna

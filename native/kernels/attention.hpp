// Attention of one token over the KV blocks of its sequence, in the manner of FlashAttention (arXiv 2205.14135): blocks
// are merged in index order with a running maximum, so the result depends on the position and the cache alone.
#pragma once

#include "float_ops.hpp"

namespace sterna {
namespace {

// Probabilities of one block for one head, in place of its scores; returns their sum. Scores past n give 0.
float block_softmax(float* scores, std::size_t n, float maximum) {
    for (std::size_t j = n; j < kBlockSize; ++j) scores[j] = maximum;
    for (std::size_t j = 0; j < kBlockSize; j += kLanes) store(scores + j, exp(load(scores + j) - splat(maximum)));
    for (std::size_t j = n; j < kBlockSize; ++j) scores[j] = 0.0f;
    Lanes total = splat(0.0f);
    for (std::size_t j = 0; j < kBlockSize; j += kLanes) total = total + load(scores + j);
    return sum(total);
}

void expand_half(const std::uint16_t* src, std::size_t n, float* out) {
    for (std::size_t k = 0; k < n; k += kLanes) store(out + k, load_half(src + k));
}

void attention(const AttentionTask& task) {
    const std::size_t group = task.group, stride = task.head_stride;
    float* q = task.scratch;
    float* acc = q + group * stride;
    float* scores = acc + group * stride;
    float* maximum = scores + group * kBlockSize;
    float* total = maximum + group;
    float* row = total + group;

    std::memset(q, 0, 2 * group * stride * sizeof(float));
    for (std::size_t g = 0; g < group; ++g) {
        std::memcpy(q + g * stride, task.q + g * task.head_dim, task.head_dim * sizeof(float));
        total[g] = 0.0f;
    }
    for (std::size_t start = 0, block = 0; start <= task.position; start += kBlockSize, ++block) {
        const std::size_t left = task.position + 1 - start;
        const std::size_t n = left < kBlockSize ? left : kBlockSize;
        const std::uint16_t* keys = task.pool + static_cast<std::size_t>(task.blocks[block]) * task.block_stride;
        const std::uint16_t* values = keys + task.value_offset;
        for (std::size_t j = 0; j < n; ++j) {
            expand_half(keys + j * stride, stride, row);
            for (std::size_t g = 0; g < group; ++g)
                scores[g * kBlockSize + j] = dot(q + g * stride, row, stride) * task.scale;
        }
        for (std::size_t g = 0; g < group; ++g) {
            float* s = scores + g * kBlockSize;
            float highest = s[0];
            for (std::size_t j = 1; j < n; ++j) highest = s[j] > highest ? s[j] : highest;
            if (block > 0) {
                highest = maximum[g] > highest ? maximum[g] : highest;
                const Lanes correction = exp(splat(maximum[g] - highest));
                for (std::size_t d = 0; d < stride; d += kLanes)
                    store(acc + g * stride + d, load(acc + g * stride + d) * correction);
                total[g] *= max_of(correction);
            }
            maximum[g] = highest;
            total[g] += block_softmax(s, n, highest);
        }
        for (std::size_t j = 0; j < n; ++j) {
            expand_half(values + j * stride, stride, row);
            for (std::size_t g = 0; g < group; ++g) {
                const Lanes p = splat(scores[g * kBlockSize + j]);
                float* a = acc + g * stride;
                for (std::size_t d = 0; d < stride; d += kLanes) store(a + d, load(a + d) + p * load(row + d));
            }
        }
    }
    for (std::size_t g = 0; g < group; ++g)
        for (std::size_t d = 0; d < task.head_dim; ++d)
            task.out[g * task.head_dim + d] = acc[g * stride + d] / total[g];
}

}  // namespace
}  // namespace sterna

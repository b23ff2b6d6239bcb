// Attention over the KV blocks of a sequence, in the manner of FlashAttention (arXiv 2205.14135): blocks are merged in
// index order with a running maximum, so a token's result depends on its position and the cache alone. How scores and
// sums of values come from a block's elements is the cache type's matter (attention_f16.hpp, attention_int8.hpp).
#pragma once

#include "attention_f16.hpp"
#include "attention_int8.hpp"

namespace sterna {
namespace {

// The maximum over this block's n scores and the blocks before; the correction is what earlier sums are worth under it.
inline void raise_maximum(float* scores, std::size_t n, bool first, float& maximum, float& correction) {
    for (std::size_t j = n; j < kBlockSize; ++j) scores[j] = scores[0];
    Lanes highest = load(scores);
    for (std::size_t j = kLanes; j < kBlockSize; j += kLanes) highest = max(highest, load(scores + j));
    const float block_maximum = max_of(highest), before = maximum;
    maximum = first || block_maximum > before ? block_maximum : before;
    correction = first ? 0.0f : exp(splat(before - maximum)).v[0][0];
}

// Turns the scores of n positions into e^(score - maximum), zero past n.
inline void exponentiate(float* scores, std::size_t n, float maximum, float correction, float& total) {
    for (std::size_t j = 0; j < kBlockSize; j += kLanes) store(scores + j, exp(load(scores + j) - splat(maximum)));
    for (std::size_t j = n; j < kBlockSize; ++j) scores[j] = 0.0f;
    Lanes sums = splat(0.0f);
    for (std::size_t j = 0; j < kBlockSize; j += kLanes) sums = sums + load(scores + j);
    total = total * correction + sum(sums);
}

// Arrays have a row for each query head of each token: acc [rows, head_stride], scores [rows, 64], the others [rows].
template <class Kv>
void attend(const AttentionTask& task) {
    const std::size_t rows = task.n_tokens * task.group;
    float* acc = task.scratch;
    float* maximum = acc + rows * task.head_stride;
    float* total = maximum + rows;
    float* correction = total + rows;
    float* scores = correction + rows;
    Kv kv(task, scores + rows * kBlockSize);
    std::memset(acc, 0, rows * task.head_stride * sizeof(float));
    std::memset(total, 0, rows * sizeof(float));

    const std::size_t end = task.position + task.n_tokens;  // positions that the last token attends to
    for (std::size_t start = 0, index = 0; start < end; start += kBlockSize, ++index) {
        const auto data = [&](std::size_t i) {
            return task.pool + static_cast<std::size_t>(task.blocks[i]) * task.block_stride;
        };
        const KvBlock block(task, data(index), data(start + kBlockSize < end ? index + 1 : index), start);
        const std::size_t seen_by_last = block.seen(task.n_tokens - 1), first_row = block.first * task.group;
        for (std::size_t j = 0; j < seen_by_last; j += kLanes) kv.score(block, j, scores + j);
        // Row after row in each of these steps, so that the processor can do several at a time.
        for (std::size_t r = first_row; r < rows; ++r)
            raise_maximum(scores + r * kBlockSize, block.seen(r / task.group), start == 0, maximum[r], correction[r]);
        for (std::size_t r = first_row; r < rows; ++r)
            exponentiate(scores + r * kBlockSize, block.seen(r / task.group), maximum[r], correction[r], total[r]);
        kv.weigh(block, scores);
        for (std::size_t d = 0; d < task.head_stride; d += kLanes) kv.add_values(block, d, scores, correction, acc + d);
    }
    for (std::size_t t = 0; t < task.n_tokens; ++t)
        for (std::size_t g = 0; g < task.group; ++g) {
            const std::size_t r = t * task.group + g;
            float* out = task.out + t * task.out_stride + g * task.head_dim;
            for (std::size_t d = 0; d < task.head_dim; ++d) out[d] = acc[r * task.head_stride + d] / total[r];
        }
}

void attention(const AttentionTask& task) {
    return task.type == KvType::f16 ? attend<AttentionF16>(task) : attend<AttentionInt8>(task);
}

void store_kv(KvType type, const float* key, const float* value, std::size_t head_dim, std::size_t head_stride,
              std::size_t position, std::uint8_t* block) {
    return type == KvType::f16 ? store_f16(key, value, head_dim, head_stride, position, block)
                               : store_int8(key, value, head_dim, head_stride, position, block);
}

}  // namespace
}  // namespace sterna

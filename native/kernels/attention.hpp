// Attention over the KV blocks of a sequence, in the manner of FlashAttention (arXiv 2205.14135): blocks are merged in
// index order with a running maximum, so a row's sums depend only on its position, its keys and values and the range of
// positions. How scores and sums of values are computed from a block's elements depends on the cache's type
// (attention_float.hpp, attention_int8.hpp).
#pragma once

#include "attention_float.hpp"
#include "attention_int8.hpp"

namespace sterna {
namespace {

// Raises the running maximum to that of the scores begin .. end - 1 of a block. `correction` becomes the factor for the
// sums of earlier blocks, e^(old maximum - new maximum).
inline void raise_maximum(float* scores, std::size_t begin, std::size_t end, float& maximum, float& correction) {
    for (std::size_t j = 0; j < begin; ++j) scores[j] = scores[begin];
    for (std::size_t j = end; j < kBlockSize; ++j) scores[j] = scores[begin];
    Lanes highest = load(scores);
    for (std::size_t j = kLanes; j < kBlockSize; j += kLanes) highest = max(highest, load(scores + j));
    const float block_maximum = max_of(highest), before = maximum;
    maximum = block_maximum > before ? block_maximum : before;
    correction = exp(splat(before - maximum)).v[0][0];
}

// Turns the scores begin .. end - 1 into e^(score - maximum), the others into zero.
inline void exponentiate(float* scores, std::size_t begin, std::size_t end, float maximum, float correction,
                         float& total) {
    for (std::size_t j = 0; j < kBlockSize; j += kLanes) store(scores + j, exp(load(scores + j) - splat(maximum)));
    for (std::size_t j = 0; j < begin; ++j) scores[j] = 0.0f;
    for (std::size_t j = end; j < kBlockSize; ++j) scores[j] = 0.0f;
    Lanes sums = splat(0.0f);
    for (std::size_t j = 0; j < kBlockSize; j += kLanes) sums = sums + load(scores + j);
    total = total * correction + sum(sums);
}

constexpr float kLowest = -3.0e38f;  // below every score, and finite: differences from it are never NaN

template <class Kv>
void attend(const AttentionTask& task) {
    const std::size_t rows = task.n_tokens * task.group;
    const AttentionSums& sums = task.sums;
    float* correction = task.scratch;
    float* scores = correction + rows;  // [rows, 64]
    Kv kv(task, scores + rows * kBlockSize);
    std::memset(sums.values, 0, rows * task.head_stride * sizeof(float));
    std::memset(sums.total, 0, rows * sizeof(float));
    for (std::size_t r = 0; r < rows; ++r) sums.maximum[r] = kLowest;

    for (std::size_t start = task.first; start < task.last; start += kBlockSize) {
        const auto data = [&](std::size_t at) {
            return task.pool + static_cast<std::size_t>(task.blocks[at / kBlockSize]) * task.block_stride;
        };
        const KvBlock block(task, data(start), data(start + kBlockSize < task.last ? start + kBlockSize : start),
                            start);
        if (block.first >= block.last) continue;
        const std::size_t first_row = block.first * task.group, last_row = block.last * task.group;
        const std::size_t seen = block.end(block.last - 1);
        for (std::size_t j = block.begin(block.first) / kLanes * kLanes; j < seen; j += kLanes)
            kv.score(block, j, scores + j);
        // Each step runs over all rows before the next step begins, so that the processor can overlap rows.
        const auto each = [&](const auto& work) {
            for (std::size_t r = first_row; r < last_row; ++r) {
                const std::size_t t = r / task.group;
                work(scores + r * kBlockSize, block.begin(t), block.end(t), r);
            }
        };
        each([&](float* row, std::size_t begin, std::size_t end, std::size_t r) {
            raise_maximum(row, begin, end, sums.maximum[r], correction[r]);
        });
        each([&](float* row, std::size_t begin, std::size_t end, std::size_t r) {
            exponentiate(row, begin, end, sums.maximum[r], correction[r], sums.total[r]);
        });
        kv.weigh(block, scores);
        for (std::size_t d = 0; d < task.head_stride; d += kLanes)
            kv.add_values(block, d, scores, correction, sums.values + d);
    }
}

void attention(const AttentionTask& task) {
    switch (task.type) {
        case KvType::f16:
            return attend<AttentionFloat<Halfs>>(task);
        case KvType::int8:
            return attend<AttentionInt8>(task);
        case KvType::f32:
            return attend<AttentionFloat<Floats32>>(task);
    }
}

// Adds the sums in `more`, which are those of later positions, to `sums`.
void merge_attention(const AttentionSums& sums, const AttentionSums& more, std::size_t rows, std::size_t head_stride) {
    for (std::size_t r = 0; r < rows; ++r) {
        if (more.total[r] == 0.0f) continue;  // no position seen
        const float before = sums.maximum[r], after = more.maximum[r];
        const float maximum = after > before ? after : before;
        const Lanes worth = exp(splat(before - maximum)), more_worth = exp(splat(after - maximum));
        sums.maximum[r] = maximum;
        sums.total[r] = sums.total[r] * worth.v[0][0] + more.total[r] * more_worth.v[0][0];
        float* values = sums.values + r * head_stride;
        const float* others = more.values + r * head_stride;
        for (std::size_t d = 0; d < head_stride; d += kLanes)
            store(values + d, load(values + d) * worth + load(others + d) * more_worth);
    }
}

// Writes the outputs of `heads` rows from `first_row` on, [heads, head_dim].
void finish_attention(const AttentionSums& sums, std::size_t first_row, std::size_t heads, std::size_t head_dim,
                      std::size_t head_stride, float* out) {
    for (std::size_t h = 0; h < heads; ++h) {
        const float* values = sums.values + (first_row + h) * head_stride;
        const float total = sums.total[first_row + h];
        for (std::size_t d = 0; d < head_dim; ++d) out[h * head_dim + d] = values[d] / total;
    }
}

void store_kv(KvType type, const float* key, const float* value, std::size_t head_dim, std::size_t head_stride,
              std::size_t position, std::uint8_t* block) {
    switch (type) {
        case KvType::f16:
            return store_float<Halfs>(key, value, head_dim, head_stride, position, block);
        case KvType::int8:
            return store_int8(key, value, head_dim, head_stride, position, block);
        case KvType::f32:
            return store_float<Floats32>(key, value, head_dim, head_stride, position, block);
    }
}

}  // namespace
}  // namespace sterna

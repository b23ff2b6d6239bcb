// Attention over the KV blocks of a sequence, in the manner of FlashAttention (arXiv 2205.14135): blocks are merged in
// index order with a running maximum, so a token's result depends on its position and the cache alone. Tokens that
// come together pass over a block one after the other while it lies in the first cache.
//
// Keys lie transposed in their block, [head_dim][64 positions]: a score is a sum over dimensions in their order,
// sixteen positions at a time, and never folds lanes. Values lie [64 positions][head_stride]: an output is a sum over
// positions in their order, sixteen dimensions at a time. Query heads that share keys and values go up to four at a
// time, so that halfs (or int8 codes) are converted once for all of them. Scales of int8 codes belong to a position:
// they multiply its score, and its weight in the sum of values.
#pragma once

#include "float_ops.hpp"

namespace sterna {
namespace {

struct KvF16 {
    using Element = std::uint16_t;
    static constexpr KvType kType = KvType::f16;
    static Lanes load16(const Element* p) { return load_half(p); }
};

struct KvInt8 {
    using Element = std::int8_t;
    static constexpr KvType kType = KvType::int8;
    static Lanes load16(const Element* p) { return load_int8(p); }
};

template <class Kv>
struct KvBlock {
    KvBlock(const std::uint8_t* data, std::size_t head_stride)
        : keys(reinterpret_cast<const typename Kv::Element*>(data)),
          values(reinterpret_cast<const typename Kv::Element*>(data + kv_values_offset(Kv::kType, head_stride))),
          key_scales(reinterpret_cast<const float*>(data + kv_scales_offset(Kv::kType, head_stride))),
          value_scales(key_scales + kBlockSize) {}
    static constexpr std::size_t kRowBytes = kBlockSize * sizeof(typename Kv::Element);  // of a dimension's keys
    const typename Kv::Element *keys, *values;
    const float *key_scales, *value_scales;  // of int8 alone
};

// A block's keys come from memory while the values before them are summed, and its values while its keys are: the parts
// lie too far from each other for the processor to foresee them.
inline void prefetch(const void* data, std::size_t bytes) {
    for (std::size_t line = 0; line < bytes; line += 64) __builtin_prefetch(static_cast<const char*>(data) + line);
}

// scores[g][0..64) = q[g] . key * scale for every position of a block; those past n are not defined.
template <class Kv, int G>
void block_scores(const float* q, std::size_t head_dim, const KvBlock<Kv>& block, std::size_t n, float scale,
                  float* scores) {
    for (std::size_t j = 0; j < n; j += kLanes) {
        Lanes acc[G];
        for (int g = 0; g < G; ++g) acc[g] = splat(0.0f);
        for (std::size_t d = 0; d < head_dim; ++d) {
            if (d % 16 == 0)  // a quarter of the values in each of the four rounds
                prefetch(block.values + (j / kLanes * head_dim + d) / 4 * kBlockSize, 4 * KvBlock<Kv>::kRowBytes);
            const Lanes key = Kv::load16(block.keys + d * kBlockSize + j);
            for (int g = 0; g < G; ++g) acc[g] = fma(splat(q[static_cast<std::size_t>(g) * head_dim + d]), key, acc[g]);
        }
        Lanes factor = splat(scale);
        if constexpr (Kv::kType == KvType::int8) factor = factor * load(block.key_scales + j);
        for (int g = 0; g < G; ++g) store(scores + static_cast<std::size_t>(g) * kBlockSize + j, acc[g] * factor);
    }
}

// out[g] = out[g] * correction[g] + sum over positions of p[g][j] * value[j]; changes p.
template <class Kv, int G>
void block_values(float* p, const KvBlock<Kv>& block, const std::uint8_t* next, std::size_t head_stride, std::size_t n,
                  const float* correction, float* out) {
    if constexpr (Kv::kType == KvType::int8)
        for (std::size_t g = 0; g < G; ++g)
            for (std::size_t j = 0; j < n; ++j) p[g * kBlockSize + j] *= block.value_scales[j];
    for (std::size_t d = 0; d < head_stride; d += kLanes) {
        Lanes acc[G];
        for (int g = 0; g < G; ++g)
            acc[g] = load(out + static_cast<std::size_t>(g) * head_stride + d) * splat(correction[g]);
        prefetch(next + d * KvBlock<Kv>::kRowBytes, kLanes * KvBlock<Kv>::kRowBytes);
        for (std::size_t j = 0; j < n; ++j) {
            const Lanes value = Kv::load16(block.values + j * head_stride + d);
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
    correction = first ? 0.0f : exp(splat(before - maximum)).v[0][0];
    total = total * correction + sum(sums);
}

// Running state of a row, which is a query head of a token.
struct Row {
    const float* q;
    float *acc, *maximum, *total;  // acc [rows, head_stride], maximum and total [rows]
};

// One block for G query heads of a token.
template <class Kv, int G>
void attend_block(const AttentionTask& task, const KvBlock<Kv>& block, const std::uint8_t* next, std::size_t n,
                  bool first, const Row& row) {
    float scores[G * kBlockSize], correction[G];
    block_scores<Kv, G>(row.q, task.head_dim, block, n, task.scale, scores);
    for (std::size_t i = 0; i < G; ++i)
        block_softmax(scores + i * kBlockSize, n, first, row.maximum[i], row.total[i], correction[i]);
    block_values<Kv, G>(scores, block, next, task.head_stride, n, correction, row.acc);
}

template <class Kv>
void attend(const AttentionTask& task) {
    const std::size_t rows = task.n_tokens * task.group;
    float* acc = task.scratch;
    float* maximum = acc + rows * task.head_stride;
    float* total = maximum + rows;
    std::memset(acc, 0, attention_scratch(rows, task.head_stride) * sizeof(float));

    const std::size_t end = task.position + task.n_tokens;  // positions that the last token attends to
    for (std::size_t start = 0, index = 0; start < end; start += kBlockSize, ++index) {
        const auto data = [&](std::size_t i) {
            return task.pool + static_cast<std::size_t>(task.blocks[i]) * task.block_stride;
        };
        const KvBlock<Kv> block(data(index), task.head_stride);
        const std::uint8_t* next = data(start + kBlockSize < end ? index + 1 : index);
        for (std::size_t t = 0; t < task.n_tokens; ++t) {
            const std::size_t seen = task.position + t + 1;
            if (seen <= start) continue;
            const std::size_t n = seen - start < kBlockSize ? seen - start : kBlockSize;
            const auto row = [&](std::size_t g) {
                const std::size_t r = t * task.group + g;
                return Row{task.q + t * task.q_stride + g * task.head_dim, acc + r * task.head_stride, maximum + r,
                           total + r};
            };
            std::size_t g = 0;
            for (; g + 4 <= task.group; g += 4) attend_block<Kv, 4>(task, block, next, n, index == 0, row(g));
            for (; g + 2 <= task.group; g += 2) attend_block<Kv, 2>(task, block, next, n, index == 0, row(g));
            for (; g < task.group; ++g) attend_block<Kv, 1>(task, block, next, n, index == 0, row(g));
        }
    }
    for (std::size_t t = 0; t < task.n_tokens; ++t)
        for (std::size_t g = 0; g < task.group; ++g) {
            const std::size_t r = t * task.group + g;
            float* out = task.out + t * task.out_stride + g * task.head_dim;
            for (std::size_t d = 0; d < task.head_dim; ++d) out[d] = acc[r * task.head_stride + d] / total[r];
        }
}

void attention(const AttentionTask& task) {
    return task.type == KvType::f16 ? attend<KvF16>(task) : attend<KvInt8>(task);
}

void store_f16(const float* key, const float* value, std::size_t head_dim, std::size_t head_stride,
               std::size_t position, std::uint8_t* block) {
    std::uint16_t halfs[kMaxHeadDim];
    to_f16(key, head_dim, halfs);
    auto* keys = reinterpret_cast<std::uint16_t*>(block);
    for (std::size_t d = 0; d < head_dim; ++d) keys[d * kBlockSize + position] = halfs[d];
    to_f16(
        value, head_dim,
        reinterpret_cast<std::uint16_t*>(block + kv_values_offset(KvType::f16, head_stride)) + position * head_stride);
}

// codes = round(x * 127 / max|x|); gives max|x| / 127.
float absmax_codes(const float* x, std::size_t n, std::int8_t* codes) {
    float largest = 1e-20f;  // rows of zeros
    for (std::size_t d = 0; d < n; ++d) largest = __builtin_fabsf(x[d]) > largest ? __builtin_fabsf(x[d]) : largest;
    const float inverse = 127.0f / largest;
    for (std::size_t d = 0; d < n; ++d) {
        const float rounded = (x[d] * inverse + kRoundMagic) - kRoundMagic;
        codes[d] = static_cast<std::int8_t>(rounded <= 127.0f ? rounded : 127.0f);  // NaN becomes 127
    }
    return largest / 127.0f;
}

void store_int8(const float* key, const float* value, std::size_t head_dim, std::size_t head_stride,
                std::size_t position, std::uint8_t* block) {
    std::int8_t codes[kMaxHeadDim];
    auto* keys = reinterpret_cast<std::int8_t*>(block);
    auto* scales = reinterpret_cast<float*>(block + kv_scales_offset(KvType::int8, head_stride));
    scales[position] = absmax_codes(key, head_dim, codes);
    for (std::size_t d = 0; d < head_dim; ++d) keys[d * kBlockSize + position] = codes[d];
    scales[kBlockSize + position] =
        absmax_codes(value, head_dim, keys + kv_values_offset(KvType::int8, head_stride) + position * head_stride);
}

void store_kv(KvType type, const float* key, const float* value, std::size_t head_dim, std::size_t head_stride,
              std::size_t position, std::uint8_t* block) {
    return type == KvType::f16 ? store_f16(key, value, head_dim, head_stride, position, block)
                               : store_int8(key, value, head_dim, head_stride, position, block);
}

}  // namespace
}  // namespace sterna

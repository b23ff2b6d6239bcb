// Attention over the KV blocks of a sequence, in the manner of FlashAttention (arXiv 2205.14135): blocks are merged in
// index order with a running maximum, so a token's result depends on its position and the cache alone. Tokens that
// come together share a block's conversion to float32.
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

// One element of a block after the other, sixteen lanes each: as they are stored, or converted before.
template <class Kv>
struct Stored {
    const typename Kv::Element* data;
    std::size_t stride;
    Lanes at(std::size_t i) const { return Kv::load16(data + i * stride); }
};

struct Converted {
    const float* data;
    Lanes at(std::size_t i) const { return load(data + i * kLanes); }
};

// scores[g][0..16) = q[g] . key * factor of sixteen positions.
template <int G, class Source>
void scores16(const float* q, std::size_t head_dim, const Source& keys, const Lanes& factor, float* scores) {
    Lanes acc[G];
    for (int g = 0; g < G; ++g) acc[g] = splat(0.0f);
    for (std::size_t d = 0; d < head_dim; ++d) {
        const Lanes key = keys.at(d);
        for (int g = 0; g < G; ++g) acc[g] = fma(splat(q[static_cast<std::size_t>(g) * head_dim + d]), key, acc[g]);
    }
    for (int g = 0; g < G; ++g) store(scores + static_cast<std::size_t>(g) * kBlockSize, acc[g] * factor);
}

// out[g][0..16) = out[g] * correction[g] + sum over n positions of p[g][j] * value[j], of sixteen dimensions.
template <int G, class Source>
void values16(const float* p, const Source& values, std::size_t n, const float* correction, std::size_t head_stride,
              float* out) {
    Lanes acc[G];
    for (int g = 0; g < G; ++g) acc[g] = load(out + static_cast<std::size_t>(g) * head_stride) * splat(correction[g]);
    for (std::size_t j = 0; j < n; ++j) {
        const Lanes value = values.at(j);
        for (int g = 0; g < G; ++g) acc[g] = fma(splat(p[static_cast<std::size_t>(g) * kBlockSize + j]), value, acc[g]);
    }
    for (int g = 0; g < G; ++g) store(out + static_cast<std::size_t>(g) * head_stride, acc[g]);
}

// Calls work.template operator()<G>(g) for query heads g .. g + G - 1, four, two or one at a time.
template <class Work>
void by_heads(std::size_t group, const Work& work) {
    std::size_t g = 0;
    for (; g + 4 <= group; g += 4) work.template operator()<4>(g);
    for (; g + 2 <= group; g += 2) work.template operator()<2>(g);
    for (; g < group; ++g) work.template operator()<1>(g);
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

// One block against all tokens of a task. A row is a query head of a token.
template <class Kv>
class BlockAttention {
public:
    BlockAttention(const AttentionTask& task, const KvBlock<Kv>& block, const std::uint8_t* next, std::size_t start,
                   float* converted)
        : task_(task), block_(block), next_(next), start_(start), first_(0), converted_(converted) {
        while (seen(first_) == 0) ++first_;
    }

    // acc [rows, head_stride], maximum and total [rows], scores [rows, 64] and correction [rows].
    void run(float* acc, float* maximum, float* total, float* scores, float* correction) const {
        for (std::size_t j = 0; j < seen(task_.n_tokens - 1); j += kLanes) score(j, scores + j);
        for (std::size_t r = first_ * task_.group; r < task_.n_tokens * task_.group; ++r) {
            const std::size_t n = seen(r / task_.group);
            float* p = scores + r * kBlockSize;
            block_softmax(p, n, start_ == 0, maximum[r], total[r], correction[r]);
            if constexpr (Kv::kType == KvType::int8)
                for (std::size_t j = 0; j < n; ++j) p[j] *= block_.value_scales[j];
        }
        for (std::size_t d = 0; d < task_.head_stride; d += kLanes) add_values(d, scores, correction, acc + d);
    }

private:
    // Positions of the block that a token attends to.
    std::size_t seen(std::size_t t) const {
        const std::size_t end = task_.position + t + 1;
        return end <= start_ ? 0 : end - start_ < kBlockSize ? end - start_ : kBlockSize;
    }

    // Several tokens share a conversion, one takes the elements as they lie.
    template <class Work>
    void with(const Stored<Kv>& stored, std::size_t n, const Work& work) const {
        if (task_.n_tokens == 1) return work(stored);
        for (std::size_t i = 0; i < n; ++i) store(converted_ + i * kLanes, stored.at(i));
        work(Converted{converted_});
    }

    void score(std::size_t j, float* scores) const {
        const std::size_t quarter = task_.head_stride / 4;  // of the values, in each of the four rounds
        prefetch(block_.values + j / kLanes * quarter * kBlockSize, quarter * KvBlock<Kv>::kRowBytes);
        Lanes factor = splat(task_.scale);
        if constexpr (Kv::kType == KvType::int8) factor = factor * load(block_.key_scales + j);
        with({block_.keys + j, kBlockSize}, task_.head_dim, [&](const auto& keys) {
            for (std::size_t t = first_; t < task_.n_tokens; ++t) {
                if (seen(t) <= j) continue;
                const float* q = task_.q + t * task_.q_stride;
                by_heads(task_.group, [&]<int G>(std::size_t g) {
                    scores16<G>(q + g * task_.head_dim, task_.head_dim, keys, factor,
                                scores + (t * task_.group + g) * kBlockSize);
                });
            }
        });
    }

    void add_values(std::size_t d, const float* scores, const float* correction, float* acc) const {
        prefetch(next_ + d * KvBlock<Kv>::kRowBytes, kLanes * KvBlock<Kv>::kRowBytes);
        with({block_.values + d, task_.head_stride}, seen(task_.n_tokens - 1), [&](const auto& values) {
            for (std::size_t t = first_; t < task_.n_tokens; ++t)
                by_heads(task_.group, [&]<int G>(std::size_t g) {
                    const std::size_t r = t * task_.group + g;
                    values16<G>(scores + r * kBlockSize, values, seen(t), correction + r, task_.head_stride,
                                acc + r * task_.head_stride);
                });
        });
    }

    const AttentionTask& task_;
    const KvBlock<Kv>& block_;
    const std::uint8_t* next_;
    std::size_t start_, first_;  // first position of the block, first token that sees any of it
    float* converted_;           // room for kLanes of each dimension or position
};

template <class Kv>
void attend(const AttentionTask& task) {
    const std::size_t rows = task.n_tokens * task.group;
    float* acc = task.scratch;
    float* maximum = acc + rows * task.head_stride;
    float* total = maximum + rows;
    float* correction = total + rows;
    float* scores = correction + rows;
    float* converted = scores + rows * kBlockSize;
    std::memset(acc, 0, rows * task.head_stride * sizeof(float));
    std::memset(total, 0, rows * sizeof(float));

    const std::size_t end = task.position + task.n_tokens;  // positions that the last token attends to
    for (std::size_t start = 0, index = 0; start < end; start += kBlockSize, ++index) {
        const auto data = [&](std::size_t i) {
            return task.pool + static_cast<std::size_t>(task.blocks[i]) * task.block_stride;
        };
        const KvBlock<Kv> block(data(index), task.head_stride);
        const std::uint8_t* next = data(start + kBlockSize < end ? index + 1 : index);
        BlockAttention<Kv>(task, block, next, start, converted).run(acc, maximum, total, scores, correction);
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

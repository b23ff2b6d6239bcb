// Keys and values in float16. Keys lie transposed in their block, [head_dim][64 positions]: a score is a sum over
// dimensions in their order, sixteen positions at a time, and never folds lanes. Values lie [64
// positions][head_stride]: an output is a sum over positions in their order, sixteen dimensions at a time. Tokens that
// come together share a block's conversion to float32.
#pragma once

#include "attention_block.hpp"
#include "float_ops.hpp"

namespace sterna {
namespace {

// One element of a block after the other, sixteen lanes each: as they are stored, or converted before.
struct Halfs {
    const std::uint16_t* data;
    std::size_t stride;
    const std::uint8_t* ahead;
    Lanes at(std::size_t i) const {
        prefetch(ahead, i);
        return load_half(data + i * stride);
    }
};

struct Converted {
    const float* data;
    Lanes at(std::size_t i) const { return load(data + i * kLanes); }
};

// scores[g][0..16) = q[g] . key * scale of sixteen positions.
template <int G, class Source>
void scores16(const float* q, std::size_t head_dim, const Source& keys, float scale, float* scores) {
    Lanes acc[G];
    for (int g = 0; g < G; ++g) acc[g] = splat(0.0f);
    for (std::size_t d = 0; d < head_dim; ++d) {
        const Lanes key = keys.at(d);
        for (int g = 0; g < G; ++g) acc[g] = fma(splat(q[static_cast<std::size_t>(g) * head_dim + d]), key, acc[g]);
    }
    for (int g = 0; g < G; ++g) store(scores + static_cast<std::size_t>(g) * kBlockSize, acc[g] * splat(scale));
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

class AttentionF16 {
public:
    static constexpr KvType kType = KvType::f16;

    AttentionF16(const AttentionTask& task, float* converted) : task_(task), converted_(converted) {}

    // Scores of the positions j .. j + 15 of the block.
    void score(const KvBlock& block, std::size_t j, float* scores) const {
        const auto* keys = reinterpret_cast<const std::uint16_t*>(block.data);
        const std::uint8_t* ahead = block.data + kv_values_offset(kType, task_.head_stride) + 2 * j * task_.head_stride;
        with({keys + j, kBlockSize, ahead}, task_.head_dim, [&](const auto& source) {
            for (std::size_t t = block.first; t < task_.n_tokens; ++t) {
                if (block.seen(t) <= j) continue;
                const float* q = task_.q + t * task_.q_stride;
                by_heads(task_.group, [&]<int G>(std::size_t g) {
                    scores16<G>(q + g * task_.head_dim, task_.head_dim, source, task_.scale,
                                scores + (t * task_.group + g) * kBlockSize);
                });
            }
        });
    }

    void weigh(const KvBlock&, const float*) const {}  // float32 weights are used as they are

    // Adds the values' dimensions d .. d + 15.
    void add_values(const KvBlock& block, std::size_t d, const float* scores, const float* correction,
                    float* acc) const {
        const auto* values =
            reinterpret_cast<const std::uint16_t*>(block.data + kv_values_offset(kType, task_.head_stride));
        with({values + d, task_.head_stride, block.next + 2 * d * kBlockSize}, block.seen(task_.n_tokens - 1),
             [&](const auto& source) {
                 for (std::size_t t = block.first; t < task_.n_tokens; ++t)
                     by_heads(task_.group, [&]<int G>(std::size_t g) {
                         const std::size_t r = t * task_.group + g;
                         values16<G>(scores + r * kBlockSize, source, block.seen(t), correction + r, task_.head_stride,
                                     acc + r * task_.head_stride);
                     });
             });
    }

private:
    // Several tokens share a conversion, one takes the elements as they lie.
    template <class Work>
    void with(const Halfs& halfs, std::size_t n, const Work& work) const {
        if (task_.n_tokens == 1) return work(halfs);
        for (std::size_t i = 0; i < n; ++i) store(converted_ + i * kLanes, halfs.at(i));
        work(Converted{converted_});
    }

    const AttentionTask& task_;
    float* converted_;  // room for kLanes of each dimension or position
};

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

}  // namespace
}  // namespace sterna

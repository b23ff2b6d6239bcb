// Keys and values in float16 or float32. Keys lie transposed in their block, [head_dim][64 positions]: a score is a sum
// over dimensions in their order, sixteen positions at a time, and lanes are never folded. Values lie
// [64 positions][head_stride]: an output is a sum over positions in their order, sixteen dimensions at a time. The
// tokens of a task share a block's conversion to float32.
#pragma once

#include "attention_block.hpp"
#include "float_ops.hpp"

namespace sterna {
namespace {

// The elements of a block as they are stored, sixteen lanes at a time.
struct Halfs {
    using Element = std::uint16_t;
    static constexpr KvType kType = KvType::f16;
    static void convert(const float* x, std::size_t n, Element* out) { to_f16(x, n, out); }

    const Element* data;
    std::size_t stride;
    const std::uint8_t* ahead;
    Lanes at(std::size_t i) const {
        prefetch(ahead, i);
        return load_half(data + i * stride);
    }
};

struct Floats32 {
    using Element = float;
    static constexpr KvType kType = KvType::f32;
    static void convert(const float* x, std::size_t n, Element* out) { std::memcpy(out, x, n * sizeof(float)); }

    const Element* data;
    std::size_t stride;
    const std::uint8_t* ahead;
    Lanes at(std::size_t i) const {
        prefetch(ahead, 2 * i);
        return load(data + i * stride);
    }
};

// Elements that were converted to float32 before.
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

// out[g][0..16) = out[g] * correction[g] + sum over positions begin .. end - 1 of p[g][j] * value[j], for sixteen
// dimensions.
template <int G, class Source>
void values16(const float* p, const Source& values, std::size_t begin, std::size_t end, const float* correction,
              std::size_t head_stride, float* out) {
    Lanes acc[G];
    for (int g = 0; g < G; ++g) acc[g] = load(out + static_cast<std::size_t>(g) * head_stride) * splat(correction[g]);
    for (std::size_t j = begin; j < end; ++j) {
        const Lanes value = values.at(j);
        for (int g = 0; g < G; ++g) acc[g] = fma(splat(p[static_cast<std::size_t>(g) * kBlockSize + j]), value, acc[g]);
    }
    for (int g = 0; g < G; ++g) store(out + static_cast<std::size_t>(g) * head_stride, acc[g]);
}

template <class Stored>
class AttentionFloat {
public:
    AttentionFloat(const AttentionTask& task, float* converted) : task_(task), converted_(converted) {}

    // Scores of the positions j .. j + 15 of the block.
    void score(const KvBlock& block, std::size_t j, float* scores) const {
        const std::size_t stride = task_.head_stride;
        const std::uint8_t* values = block.data + kv_values_offset(Stored::kType, stride);
        const std::uint8_t* ahead = values + j * stride * sizeof(Element);
        with({elements(block.data) + j, kBlockSize, ahead}, 0, task_.head_dim, [&](const auto& source) {
            for (std::size_t t = block.first; t < block.last; ++t) {
                if (block.end(t) <= j || block.begin(t) >= j + kLanes) continue;
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
                    float* sums) const {
        const Element* values = elements(block.data + kv_values_offset(Stored::kType, task_.head_stride));
        const std::uint8_t* ahead = block.next + d * kBlockSize * sizeof(Element);
        with({values + d, task_.head_stride, ahead}, block.begin(block.first), block.end(block.last - 1),
             [&](const auto& source) {
                 for (std::size_t t = block.first; t < block.last; ++t)
                     by_heads(task_.group, [&]<int G>(std::size_t g) {
                         const std::size_t r = t * task_.group + g;
                         values16<G>(scores + r * kBlockSize, source, block.begin(t), block.end(t), correction + r,
                                     task_.head_stride, sums + r * task_.head_stride);
                     });
             });
    }

private:
    using Element = typename Stored::Element;

    static const Element* elements(const std::uint8_t* data) { return reinterpret_cast<const Element*>(data); }

    // Several tokens share one conversion; a single token reads the elements as they are stored.
    template <class Work>
    void with(const Stored& stored, std::size_t begin, std::size_t end, const Work& work) const {
        if (task_.n_tokens == 1) return work(stored);
        for (std::size_t i = begin; i < end; ++i) store(converted_ + i * kLanes, stored.at(i));
        work(Converted{converted_});
    }

    const AttentionTask& task_;
    float* converted_;  // room for kLanes of each dimension or position
};

template <class Stored>
void store_float(const float* key, const float* value, std::size_t head_dim, std::size_t head_stride,
                 std::size_t position, std::uint8_t* block) {
    using Element = typename Stored::Element;
    Element converted[kMaxHeadDim];
    Stored::convert(key, head_dim, converted);
    auto* keys = reinterpret_cast<Element*>(block);
    for (std::size_t d = 0; d < head_dim; ++d) keys[d * kBlockSize + position] = converted[d];
    auto* values = reinterpret_cast<Element*>(block + kv_values_offset(Stored::kType, head_stride));
    Stored::convert(value, head_dim, values + position * head_stride);
}

}  // namespace
}  // namespace sterna

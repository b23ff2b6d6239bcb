// Keys and values in int8, with a scale for each position: value = code * scale. Queries and softmax weights are
// quantised to 16 bits, so that all sums are exact integers; the rounding error of 16 bits is a hundredth of that of
// int8.
//
// Products are added in pairs, so two dimensions of a key are adjacent, [64 / 16][head_stride / 2][16 positions][2],
// and so are two positions of a value, [head_stride / 16][64 / 2][16 dimensions][2]. Both are read in order.
#pragma once

#include "attention_block.hpp"
#include "int_lanes.hpp"

namespace sterna {
namespace {

constexpr float kCodeLimit = 32767.0f;  // of the codes of queries and weights

inline float absmax(const float* x, std::size_t n) {
    Lanes largest = splat(1e-30f);  // not 0, for rows of zeros
    for (std::size_t k = 0; k < n; k += kLanes) largest = max(largest, abs(load_part(x + k, n - k)));
    return max_of(largest);
}

// codes = round(x * factor), zero past n up to a multiple of 16. min comes first, so that a NaN becomes the limit.
inline void to_codes(const float* x, std::size_t n, float factor, float limit, std::int16_t* codes) {
    for (std::size_t k = 0; k < n; k += kLanes) {
        const Lanes rounded = round_even(load_part(x + k, n - k) * splat(factor));
        store_int16(codes + k, max(min(rounded, splat(limit)), splat(-limit)));
    }
}

// codes = round(x * limit / max|x|), as above; returns max|x| / limit.
inline float absmax_codes(const float* x, std::size_t n, float limit, std::int16_t* codes) {
    const float largest = absmax(x, n);
    to_codes(x, n, limit / largest, limit, codes);
    return largest / limit;
}

// Fetches to L1 what follows close behind and was fetched to L2 before.
[[gnu::always_inline]] inline void prefetch_close(const std::uint8_t* codes, std::size_t i) {
    constexpr std::size_t kClose = 1024;
    if (i % 2 == 0) __builtin_prefetch(codes + 32 * i + kClose);
}

// sums[g] = the sum over n pairs of the products of a lane's two codes and the two numbers of x[g]. Where one register
// holds all lanes, odd pairs have sums of their own, since G chains of multiply-adds are too few to hide their latency.
template <int G>
void sums16(const std::uint8_t* codes, std::size_t n, const std::uint8_t* ahead, const std::int16_t* x,
            std::size_t stride, IntLanes* sums) {
    IntLanes even[G] = {}, odd[G] = {};
    const auto add = [&](IntLanes* to, std::size_t i) {
        prefetch(ahead, i);
        prefetch_close(codes, i);
        const Pairs pairs = load_pairs(reinterpret_cast<const std::int8_t*>(codes) + i * 2 * kLanes);
        for (int g = 0; g < G; ++g) add_products(to[g], pairs, x + static_cast<std::size_t>(g) * stride + 2 * i);
    };
    std::size_t i = 0;
    for (; i + 2 <= n; i += 2) {
        add(even, i);
        add(kRegisters == 1 ? odd : even, i + 1);
    }
    if (i < n) add(even, i);
    for (int g = 0; g < G; ++g) sums[g] = even[g] + odd[g];
}

class AttentionInt8 {
public:
    static constexpr KvType kType = KvType::int8;

    // scratch: the scales of queries and of weights, [rows] each, then q_codes [rows, head_stride] and weight_codes
    // [rows, 64] of 16 bits.
    AttentionInt8(const AttentionTask& task, float* scratch) : task_(task) {
        const std::size_t rows = task.n_tokens * task.group;
        q_scales_ = scratch;
        weight_scales_ = q_scales_ + rows;
        q_codes_ = reinterpret_cast<std::int16_t*>(weight_scales_ + rows);
        weight_codes_ = q_codes_ + rows * task.head_stride;
        // A score sums head_stride products with codes of up to 127 in 32 bits, which limits the codes of queries. An
        // output sums 64 products, which always fit.
        const auto most = static_cast<float>(INT32_MAX / (127 * task.head_stride));
        const float limit = most < kCodeLimit ? most : kCodeLimit;
        for (std::size_t r = 0; r < rows; ++r) {
            const float* q = task.q + r / task.group * task.q_stride + r % task.group * task.head_dim;
            q_scales_[r] = task.scale * absmax_codes(q, task.head_dim, limit, q_codes_ + r * task.head_stride);
        }
    }

    // Scores of the positions j .. j + 15 of the block.
    void score(const KvBlock& block, std::size_t j, float* scores) const {
        const std::size_t stride = task_.head_stride;
        const std::uint8_t *keys = block.data + j * stride, *ahead = keys + kv_values_offset(kType, stride);
        const Lanes key_scales = load(scales(block) + j);
        for (std::size_t t = block.first; t < block.last; ++t) {
            if (block.end(t) <= j || block.begin(t) >= j + kLanes) continue;
            by_heads(task_.group, [&]<int G>(std::size_t g) {
                const std::size_t row = t * task_.group + g;
                IntLanes sums[G];
                sums16<G>(keys, stride / 2, ahead, q_codes_ + row * stride, stride, sums);
                for (std::size_t r = row; r < row + G; ++r)
                    store(scores + r * kBlockSize, to_float(sums[r - row]) * (key_scales * splat(q_scales_[r])));
            });
        }
    }

    // Quantises the softmax weights times the scales of the values, which have one scale per position. The weights of
    // positions that a token does not see become zero, whatever scale is stored there.
    void weigh(const KvBlock& block, float* weights) const {
        const std::size_t first = block.first * task_.group, last = block.last * task_.group;
        const float* value_scales = scales(block) + kBlockSize;
        for (std::size_t i = 0; i < 2 * kBlockSize * sizeof(float) / 32; ++i)
            prefetch(block.next + kv_scales_offset(kType, task_.head_stride), i);
        for (std::size_t r = first; r < last; ++r) {
            float* w = weights + r * kBlockSize;
            for (std::size_t j = 0; j < kBlockSize; j += kLanes) store(w + j, load(w + j) * load(value_scales + j));
            for (std::size_t j = 0; j < block.begin(r / task_.group); ++j) w[j] = 0.0f;
            for (std::size_t j = block.end(r / task_.group); j < kBlockSize; ++j) w[j] = 0.0f;
            weight_scales_[r] = absmax(w, kBlockSize) / kCodeLimit;
        }
        for (std::size_t r = first; r < last; ++r)
            to_codes(weights + r * kBlockSize, kBlockSize, 1.0f / weight_scales_[r], kCodeLimit,
                     weight_codes_ + r * kBlockSize);
    }

    // Adds the values' dimensions d .. d + 15.
    void add_values(const KvBlock& block, std::size_t d, const float*, const float* correction, float* acc) const {
        const std::uint8_t* values = block.data + kv_values_offset(kType, task_.head_stride) + d * kBlockSize;
        for (std::size_t t = block.first; t < block.last; ++t)
            by_heads(task_.group, [&]<int G>(std::size_t g) {
                const std::size_t row = t * task_.group + g;
                IntLanes sums[G];
                sums16<G>(values, (block.end(t) + 1) / 2, block.next + d * kBlockSize, weight_codes_ + row * kBlockSize,
                          kBlockSize, sums);
                for (std::size_t r = row; r < row + G; ++r) {
                    float* out = acc + r * task_.head_stride;
                    store(out,
                          fma(to_float(sums[r - row]), splat(weight_scales_[r]), load(out) * splat(correction[r])));
                }
            });
    }

private:
    // [64] of keys, then [64] of values.
    const float* scales(const KvBlock& block) const {
        return reinterpret_cast<const float*>(block.data + kv_scales_offset(kType, task_.head_stride));
    }

    const AttentionTask& task_;
    float *q_scales_, *weight_scales_;
    std::int16_t *q_codes_, *weight_codes_;
};

void store_int8(const float* key, const float* value, std::size_t head_dim, std::size_t head_stride,
                std::size_t position, std::uint8_t* block) {
    constexpr float kLimit = 127.0f;
    std::int16_t codes[kMaxHeadDim];
    auto* keys =
        reinterpret_cast<std::int8_t*>(block) + position / kLanes * kLanes * head_stride + position % kLanes * 2;
    auto* values = reinterpret_cast<std::int8_t*>(block + kv_values_offset(KvType::int8, head_stride)) +
                   position / 2 * 2 * kLanes + position % 2;
    auto* scales = reinterpret_cast<float*>(block + kv_scales_offset(KvType::int8, head_stride));
    scales[position] = absmax_codes(key, head_dim, kLimit, codes);
    for (std::size_t d = 0; d < head_dim; ++d) keys[d / 2 * 2 * kLanes + d % 2] = static_cast<std::int8_t>(codes[d]);
    scales[kBlockSize + position] = absmax_codes(value, head_dim, kLimit, codes);
    for (std::size_t d = 0; d < head_dim; ++d)
        values[d / kLanes * kLanes * kBlockSize + d % kLanes * 2] = static_cast<std::int8_t>(codes[d]);
}

}  // namespace
}  // namespace sterna

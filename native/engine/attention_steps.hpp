// The steps of attention: they store keys and values, attend to them, and merge the pieces of a divided stretch.
#pragma once

#include <algorithm>

#include "token_step.hpp"

namespace sterna {

// Writes a token's keys and values to their place in the pool.
struct StoreKv final : TokenStep<StoreKv> {
    StoreKv(std::size_t cache, std::size_t layer, std::size_t k, std::size_t v)
        : cache(cache), layer(layer), k(k), v(v) {
        reads = {k, v};
    }
    void token(Run& run, std::size_t t) const {
        const KvPool& pool = *run.caches[cache].pool;
        const std::size_t position = run.batch.position(t);
        const auto block = static_cast<std::size_t>(run.batch.blocks_of(cache, t)[position / kBlockSize]);
        for (std::size_t h = 0; h < pool.kv_heads(); ++h) {
            const std::size_t at = h * pool.head_dim();
            run.kernels.store_kv(pool.type(), run.slots[k].row(t) + at, run.slots[v].row(t) + at, pool.head_dim(),
                                 pool.head_stride(), position % kBlockSize,
                                 pool.head(layer, h) + block * pool.block_bytes());
        }
    }
    std::size_t cache, layer, k, v;
};

struct AttentionShape {
    std::size_t cache, layer, kv_heads, group, head_dim;
    float scale;
};

// A pair is a piece (attention_work.hpp) and a kv head. An item is one pair, or a part of the pairs that are left over.
class Attend final : public Step {
public:
    Attend(const AttentionShape& shape, std::size_t q, std::size_t out) : shape_(shape), q_(q), out_(out) {
        grain = Grain::heads;
        reads = {q};
        writes = {out};
    }
    // The first items are whole pairs, the same number for each thread. The query heads of the few pairs that are left
    // over are divided into one part for each thread. Pairs whose piece keeps its sums are not divided: there are many
    // of them for each thread.
    std::size_t items(const Run& run) const override {
        return even(run) + (pairs(run) > even(run) ? run.n_threads : 0);
    }
    void run(Run& run, std::size_t thread, std::size_t first, std::size_t last) const override;
    std::size_t scratch(const Kernels&) const override {
        const std::size_t rows = Stretch::kMost * shape_.group, head_stride = (shape_.head_dim + 15) / 16 * 16;
        return 2 * attention_sums(rows, head_stride) + attention_scratch(rows, head_stride);
    }

private:
    std::size_t pairs(const Run& run) const {
        return run.attention_work[shape_.cache].pieces().size() * shape_.kv_heads;
    }
    std::size_t even(const Run& run) const { return pairs(run) / run.n_threads * run.n_threads; }
    // Attends with `count` query heads of a (piece, kv head) pair, from `first` on.
    void attend(Run& run, std::size_t thread, std::size_t pair, std::size_t first, std::size_t count) const;

    AttentionShape shape_;
    std::size_t q_, out_;
};

// Merges the sums of the pieces of each stretch that was divided.
struct MergePieces final : TokenStep<MergePieces> {
    MergePieces(const AttentionShape& shape, std::size_t out) : shape(shape), out(out) { reads = writes = {out}; }
    void token(Run& run, std::size_t t) const;
    AttentionShape shape;
    std::size_t out;
};

}  // namespace sterna

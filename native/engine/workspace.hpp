// The buffers that a forward pass works in: one row of floats a token for every slot of the plan.
#pragma once

#include <cstddef>
#include <cstdint>
#include <new>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "kv_pool.hpp"
#include "linear.hpp"

namespace sterna {

// Zeroed, cache-line aligned, not copyable.
template <class T>
class Buffer {
public:
    Buffer() = default;
    explicit Buffer(std::size_t n) : data_(new (std::align_val_t{64}) T[n]()) {}
    Buffer(Buffer&& other) noexcept : data_(std::exchange(other.data_, nullptr)) {}
    Buffer& operator=(Buffer&& other) noexcept {
        std::swap(data_, other.data_);
        return *this;
    }
    ~Buffer() { ::operator delete[](data_, std::align_val_t{64}); }
    T* get() const { return data_; }

private:
    T* data_ = nullptr;
};

// Rows of one named value. The padding between width and stride stays zero for ever, so kernels need no tails.
struct Slot {
    std::string name;
    std::size_t width = 0, stride = 0;
    bool int8 = false, int15 = false;  // which quantised copies follow every write
    float* values = nullptr;
    std::int8_t* codes = nullptr;
    float* scales = nullptr;
    std::int32_t* sums = nullptr;
    std::int8_t *high = nullptr, *low = nullptr;
    std::int16_t *high_sums = nullptr, *low_sums = nullptr;
    std::int32_t* eights = nullptr;
    float* int15_scales = nullptr;

    void require(Quantizer quantizer);
    // Lays its arrays out in zeroed memory, each from a cache line on, and returns the bytes that they take; null only
    // measures.
    std::size_t place(std::byte* memory, std::size_t tokens);
    void quantize(const Kernels& kernels, std::size_t token);
    float* row(std::size_t token) const { return values + token * stride; }
    Activations activations(std::size_t n_tokens) const;
};

// Where things lie in one memory, and how large it is.
struct Layout {
    std::vector<std::size_t> offsets;
    std::size_t bytes = 0;
};

// Places for things of these sizes, in multiples of a cache line. `in_use[i][phase]`: those that are in use in the same
// phase do not overlap. The largest come first, each as low as it can lie.
Layout lay_out(const std::vector<std::size_t>& sizes, const std::vector<std::vector<bool>>& in_use);

// Tokens at consecutive positions of one sequence, at most kMost of them: they attend together.
struct Stretch {
    static constexpr std::size_t kMost = 8;
    std::size_t first, count;
};

// Any mixture of prefill chunks and single steps. Tokens of sequence s are cu_seqlens[s] .. cu_seqlens[s + 1].
struct Batch {
    std::span<const std::int32_t> tokens;      // [n]
    std::span<const std::int32_t> positions;   // [n], position of each token in its sequence
    std::span<const std::int32_t> cu_seqlens;  // [n_seqs + 1]
    std::span<const std::int32_t>
        block_tables;  // [n_seqs, table_width]: block that holds positions 64 * i .. 64 * i + 63
    std::span<const std::int32_t> output_rows;  // rows of `tokens` whose hidden state is wanted
    std::size_t table_width = 0;
    std::vector<std::int32_t> sequence_of;  // [n], filled by check()
    std::vector<Stretch> stretches;         // all tokens, filled by check()

    // Throws std::invalid_argument where sizes disagree or an index is out of range.
    void check(std::size_t vocab_size, std::size_t pool_blocks);
    std::size_t size() const { return tokens.size(); }
    const std::int32_t* blocks_of(std::size_t token) const {
        return block_tables.data() + static_cast<std::size_t>(sequence_of[token]) * table_width;
    }
    std::size_t position(std::size_t token) const { return static_cast<std::size_t>(positions[token]); }
};

// Everything a step sees while it runs.
struct Run {
    const Kernels& kernels;
    const Batch& batch;
    const KvPool& pool;
    std::vector<Slot>& slots;
    std::span<Buffer<float>> scratch;  // one a thread
    std::size_t n_threads;
};

}  // namespace sterna

// A pool of KV blocks. A block holds the keys and values of 64 positions in all layers of a cache group; the caller
// decides which sequence owns it. A block takes memory from the system when it is
// first used (`Pages`).
#pragma once

#include <cstddef>
#include <cstdint>

#include "../kernels/kernels.hpp"
#include "../platform/memory.hpp"

namespace sterna {

class KvPool {
public:
    // Throws std::invalid_argument where a size is zero or the pool exceeds what an address space holds,
    // std::bad_alloc where the memory is refused.
    KvPool(std::size_t layers, std::size_t kv_heads, std::size_t head_dim, std::size_t blocks, KvType type);

    std::size_t layers() const { return layers_; }
    std::size_t kv_heads() const { return kv_heads_; }
    std::size_t head_dim() const { return head_dim_; }
    std::size_t blocks() const { return blocks_; }
    KvType type() const { return type_; }
    std::size_t head_stride() const { return head_stride_; }
    std::size_t block_bytes() const { return layers_ * kv_heads_ * kv_head_bytes(type_, head_stride_); }

    // To be called before a block is first used. Throws std::bad_alloc.
    void provide(std::size_t block) const { memory_.provide((block + 1) * block_bytes()); }

    // The part of block 0 that belongs to (layer, kv head); add block * block_bytes() for another block.
    std::uint8_t* head(std::size_t layer, std::size_t kv_head) const {
        return memory_.get() + (layer * kv_heads_ + kv_head) * kv_head_bytes(type_, head_stride_);
    }

    // Copies all of a block. Throws std::invalid_argument for a block that is none.
    void copy(std::size_t source, std::size_t target);

private:
    std::size_t layers_, kv_heads_, head_dim_, head_stride_, blocks_;
    KvType type_;
    mutable Pages memory_;  // what a pass writes to
};

// The pool that a pass uses for a cache group, and the group's window.
struct Cache {
    const KvPool* pool = nullptr;
    std::size_t window = 0;  // positions that a token sees, its own among them; 0: all
};

// The first position that a token sees.
inline std::size_t first_seen(std::size_t window, std::size_t position) {
    return window != 0 && position + 1 > window ? position + 1 - window : 0;
}

}  // namespace sterna

// A pool of KV blocks: 64 positions of every layer's keys and values in float16. Which sequence owns which block is the
// caller's business. Address space is reserved at once, memory is taken by the kernel when a block is first written.
#pragma once

#include <cstddef>
#include <cstdint>

namespace sterna {

class KvPool {
public:
    // Throws std::invalid_argument for sizes of zero or past what an address space holds, std::bad_alloc where it is
    // refused.
    KvPool(std::size_t layers, std::size_t kv_heads, std::size_t head_dim, std::size_t blocks);
    ~KvPool();
    KvPool(const KvPool&) = delete;
    KvPool& operator=(const KvPool&) = delete;

    std::size_t layers() const { return layers_; }
    std::size_t kv_heads() const { return kv_heads_; }
    std::size_t head_dim() const { return head_dim_; }
    std::size_t blocks() const { return blocks_; }
    // Values: [64 positions, head_stride]; keys transposed, [head_stride, 64 positions].
    std::size_t head_stride() const { return head_stride_; }                   // halfs from a position to the next
    std::size_t block_stride() const { return layers_ * 2 * value_offset(); }  // halfs from a block to the next
    std::size_t value_offset() const { return kv_heads_ * head_halfs(); }      // halfs from keys to values
    std::size_t block_bytes() const { return block_stride() * 2; }

    // Keys of block 0 at (layer, kv head); add block * block_stride for another block, value_offset for its values.
    std::uint16_t* keys(std::size_t layer, std::size_t kv_head) const {
        return data_ + layer * 2 * value_offset() + kv_head * head_halfs();
    }

private:
    std::size_t head_halfs() const;
    std::size_t layers_, kv_heads_, head_dim_, head_stride_, blocks_, bytes_;
    std::uint16_t* data_;
};

}  // namespace sterna

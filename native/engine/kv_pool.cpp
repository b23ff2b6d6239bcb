#include "kv_pool.hpp"

#include <cstring>
#include <stdexcept>

namespace sterna {

KvPool::KvPool(std::size_t layers, std::size_t kv_heads, std::size_t head_dim, std::size_t blocks, KvType type)
    : layers_(layers),
      kv_heads_(kv_heads),
      head_dim_(head_dim),
      head_stride_((head_dim + 15) / 16 * 16),
      blocks_(blocks),
      type_(type) {
    std::size_t bytes = 0;
    bool overflow =
        layers == 0 || kv_heads == 0 || head_dim == 0 || blocks == 0 || head_dim > kMaxHeadDim || layers > 65536;
    overflow = overflow || __builtin_mul_overflow(kv_heads, layers * kv_head_bytes(type, head_stride_), &bytes);
    overflow = overflow || __builtin_mul_overflow(bytes, blocks, &bytes) || bytes > (std::size_t{1} << 46);
    if (overflow) throw std::invalid_argument("The sizes of the KV cache are zero or too large.");
    // The parts of a block that attention reads lie far apart, each in small pages of its own.
    constexpr std::size_t kHugePage = 2 << 20;
    memory_ = Pages(bytes, block_bytes() >= kHugePage ? Pages::Size::kHuge : Pages::Size::kSmall);
}

void KvPool::copy(std::size_t source, std::size_t target) {
    if (source >= blocks_ || target >= blocks_) throw std::invalid_argument("A block is outside its KV pool.");
    provide(target);
    std::memmove(memory_.get() + target * block_bytes(), memory_.get() + source * block_bytes(), block_bytes());
}

}  // namespace sterna

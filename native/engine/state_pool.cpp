#include "state_pool.hpp"

#include <stdexcept>

#include "../kernels/kernels.hpp"

namespace sterna {
namespace {

constexpr std::size_t kLine = 16;  // floats of a cache line

std::size_t whole(std::size_t n, std::size_t unit) {
    return (n + unit - 1) / unit * unit;
}

}  // namespace

StatePool::StatePool(const StateGroup& shape, std::size_t slots)
    : contents(slots),
      shape_(shape),
      slots_(slots),
      channels_(whole(2 * shape.key_heads * shape.key_dim + shape.value_heads * shape.value_dim, kLine)),
      panels_(whole(shape.value_dim, kPanel) / kPanel),
      conv_floats_((shape.conv_width - 1 + ring_rows()) * channels_),
      key_floats_(shape.key_dim * kBlockSize),
      value_floats_(state_floats() + kBlockSize * panels_ * kPanel + kBlockSize * sizeof(double) / sizeof(float)),
      layer_floats_(conv_floats_ + shape.key_heads * key_floats_ + shape.value_heads * value_floats_) {
    constexpr std::size_t kMost = std::size_t{1} << 46;  // bytes
    if (shape.layers == 0 || slots == 0 || slots > kMost / sizeof(float) / shape.layers / layer_floats_)
        throw std::invalid_argument("The sizes of the state pool are zero or too large.");
    memory_ = Pages(slots_ * slot_bytes(), Pages::Size::kHuge);  // states are read from end to end
}

StatePool::Conv StatePool::conv(std::size_t slot, std::size_t layer) const {
    float* at = reinterpret_cast<float*>(memory_.get()) + (slot * shape_.layers + layer) * layer_floats_;
    return {at, at + (shape_.conv_width - 1) * channels_};
}

StatePool::KeyHead StatePool::key_head(std::size_t slot, std::size_t layer, std::size_t head) const {
    return {conv(slot, layer).before + conv_floats_ + head * key_floats_};
}

StatePool::ValueHead StatePool::value_head(std::size_t slot, std::size_t layer, std::size_t head) const {
    float* state = key_head(slot, layer, shape_.key_heads).keys + head * value_floats_;
    float* rows = state + state_floats();
    return {state, rows, reinterpret_cast<double*>(rows + kBlockSize * panels_ * kPanel)};
}

}  // namespace sterna

// A pool of the states of gated delta nets. A slot holds what the layers of a state group keep of one sequence: the
// state at the beginning of a block of 64 positions, and the rows of that block that are computed so far. The caller
// decides which sequence owns a slot. A slot takes memory from the system when it is
// first used (`Pages`).
#pragma once

#include <cstddef>
#include <vector>

#include "../platform/memory.hpp"
#include "plan.hpp"

namespace sterna {

class StatePool {
public:
    // A sequence may be continued up to kRewind positions before its end: rows that a wrong draft has written are
    // written again.
    static constexpr std::size_t kRewind = 8;
    // Columns of a state that lie together, as the kernels read them.
    static constexpr std::size_t kPanel = 32;

    // To be called before a slot is first used. Throws std::bad_alloc.
    void provide(std::size_t slot) const { memory_.provide((slot + 1) * slot_bytes()); }

    // The part of a slot that belongs to one key head, and to one of its value heads. The state is
    // [panels][key_dim][kPanel], the padding of value_dim included.
    struct KeyHead {
        float* keys;  // [key_dim, 64], the keys of the block's rows
    };
    struct ValueHead {
        float* state;
        float* rows;     // δ of the block's rows: [64, panels * kPanel]
        double* decays;  // G of the block's rows: the sum of g since the block's beginning
    };
    // The rows before the convolution, `channels()` floats each: of the last positions before the block, and of the
    // block's last positions, position p in row p % ring_rows().
    struct Conv {
        float *before, *ring;
    };

    // Throws std::invalid_argument where a size is zero or the pool exceeds what an address space holds,
    // std::bad_alloc where the memory is refused.
    StatePool(const StateGroup& shape, std::size_t slots);

    const StateGroup& shape() const { return shape_; }
    std::size_t slots() const { return slots_; }
    std::size_t slot_bytes() const { return shape_.layers * layer_floats_ * sizeof(float); }
    std::size_t channels() const { return channels_; }
    std::size_t ring_rows() const { return shape_.conv_width - 1 + kRewind; }
    std::size_t panels() const { return panels_; }
    std::size_t state_floats() const { return panels_ * kPanel * shape_.key_dim; }

    Conv conv(std::size_t slot, std::size_t layer) const;
    KeyHead key_head(std::size_t slot, std::size_t layer, std::size_t head) const;
    ValueHead value_head(std::size_t slot, std::size_t layer, std::size_t head) const;

    // The positions that a slot holds: the block that its state begins, and the end of its rows.
    struct Content {
        static constexpr std::size_t kNothing = static_cast<std::size_t>(-1);
        std::size_t block = kNothing, end = 0;
    };
    std::vector<Content> contents;  // [slots]

private:
    StateGroup shape_;
    std::size_t slots_, channels_, panels_, conv_floats_, key_floats_, value_floats_, layer_floats_;
    mutable Pages memory_;  // what a pass writes to
};

}  // namespace sterna

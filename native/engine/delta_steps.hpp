// The steps of a gated delta net that keep a state: the convolution and the delta rule (src/sterna/model/operations.py
// has their mathematics).
//
// The delta rule is computed in blocks of 64 positions that begin at multiples of 64. A row needs the state at its
// block's beginning and the block's earlier rows, and sums over them in one order; the state advances only when the
// next block begins. So a row has the same bits however a text is cut into passes, and whatever else is in the batch.
#pragma once

#include <utility>
#include <vector>

#include "step.hpp"

namespace sterna {

// An item is kColumns columns of one sequence.
class Convolve final : public Step {
public:
    static constexpr std::size_t kColumns = 256;

    // weight: [positions][width], of the padded width of the slots.
    Convolve(std::size_t states, std::size_t layer, std::vector<float> weight, std::size_t x, std::size_t out)
        : states_(states), layer_(layer), weight_(std::move(weight)), ones_(kColumns, 1.0f), x_(x), out_(out) {
        grain = Grain::heads;
        reads = {x};
        writes = {out};
    }
    std::size_t items(const Run& run) const override { return run.state_work[states_].sequences() * chunks(run); }
    void run(Run& run, std::size_t thread, std::size_t first, std::size_t last) const override;

private:
    std::size_t chunks(const Run& run) const { return (run.slots[x_].width + kColumns - 1) / kColumns; }
    void convolve(Run& run, std::size_t sequence, std::size_t begin, std::size_t end) const;

    std::size_t states_, layer_;
    std::vector<float> weight_, ones_;
    std::size_t x_, out_;
};

// An item is one key head of one sequence, with its value heads.
class DeltaRule final : public Step {
public:
    struct Shape {
        std::size_t states, layer;
        StateGroup group;
        bool is_tiled;
    };
    // decay, bias: [value_heads].
    DeltaRule(const Shape& shape, std::vector<float> decay, std::vector<float> bias, std::size_t x, std::size_t a,
              std::size_t b, std::size_t out)
        : shape_(shape), decay_(std::move(decay)), bias_(std::move(bias)), x_(x), a_(a), b_(b), out_(out) {
        grain = Grain::heads;
        reads = {x, a, b};
        writes = {out};
    }
    std::size_t items(const Run& run) const override {
        return run.state_work[shape_.states].sequences() * shape_.group.key_heads;
    }
    void run(Run& run, std::size_t thread, std::size_t first, std::size_t last) const override;
    std::size_t scratch(const Kernels&) const override;

private:
    Shape shape_;
    std::vector<float> decay_, bias_;
    std::size_t x_, a_, b_, out_;
};

}  // namespace sterna

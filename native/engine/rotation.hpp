// Rotations of pairs of columns (operations.Rotate): their tables, made when a plan is compiled, and the step.
#pragma once

#include <cstdint>
#include <vector>

#include "step.hpp"

namespace sterna {

// An item is one group of columns of a few tokens, which it also quantises, where the matrices that read it take a
// scale for each group: threads then share even a single token. Else it is a token.
class Rotate final : public Step {
public:
    // scales [width]; angles [rotations, width / 2]; pairs [rotations, width], whole numbers. Throws
    // std::invalid_argument where a row of pairs is no permutation of the columns, or where pairs reach further than
    // groups of kMaxRotationGroup columns. keeps_values: whether something reads the rotated floats.
    Rotate(std::vector<float> scales, const std::vector<float>& angles, const std::vector<float>& pairs, std::size_t x,
           std::size_t out, const Slot& slot, bool keeps_values);

    bool quantizes() const { return grain == Grain::rows; }
    std::size_t items(const Run& run) const override;
    std::size_t chunk(const Run& run) const override;
    void run(Run& run, std::size_t thread, std::size_t first, std::size_t last) const override;
    std::size_t bytes() const override;

private:
    void tabulate(const std::vector<float>& angles, const std::vector<std::size_t>& columns, std::size_t group);
    void rotate(Run& run, std::size_t token, std::size_t n_tokens, std::size_t group, const Int8Rows& quantized) const;
    std::size_t groups() const { return scales_.size() / group_; }

    bool keeps_values_;  // as floats
    std::size_t x_, out_, rotations_, group_;
    std::vector<float> scales_, cos_, sin_;
    std::vector<std::uint16_t> tile_pairs_;
    std::vector<std::uint8_t> places_;
};

}  // namespace sterna

// Rotations of pairs of columns (operations.Rotate): their tables, made when a plan is compiled, and the step.
#pragma once

#include <cstdint>
#include <vector>

#include "step.hpp"

namespace sterna {

class Rotate final : public Step {
public:
    // scales [width]; angles [rotations, width / 2]; pairs [rotations, width], whole numbers. Throws
    // std::invalid_argument where a row of pairs is no permutation of the columns, or where pairs reach further than
    // groups of kMaxRotationGroup columns.
    Rotate(std::vector<float> scales, const std::vector<float>& angles, const std::vector<float>& pairs, std::size_t x,
           std::size_t out);

    std::size_t items(const Run& run) const override { return run.batch.size(); }
    std::size_t chunk(const Run& run) const override;
    void run(Run& run, std::size_t thread, std::size_t first, std::size_t last) const override;
    std::size_t bytes() const override;

private:
    void number_places(const std::vector<std::size_t>& columns);

    std::size_t x_, out_, rotations_, group_;
    std::vector<float> scales_, cos_, sin_;
    std::vector<std::uint8_t> tile_pairs_, places_;
};

}  // namespace sterna

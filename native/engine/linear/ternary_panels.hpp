// The route of ternary matrices with one scale and int8 activations once they are repacked to panels of sixteen rows;
// exact integer sums.
#pragma once

#include "ternary.hpp"

namespace sterna {

class TernaryPanels final : public Linear {
public:
    explicit TernaryPanels(const Ternary& matrix) : Linear(matrix), panel_bytes_(kTileRows * row_bytes_) {}

    bool repacks() const override { return true; }
    std::size_t memory_bytes() const override { return parts(out_features_, kTileRows) * panel_bytes_; }
    Division division(std::size_t n_tokens, std::size_t n_threads) const override;

private:
    void pack(std::size_t first, std::size_t last, std::uint8_t* memory) const override;
    void multiply_rows(const Activations& x, std::size_t first, std::size_t last, const Division& division,
                       float* scratch, const Products& out) const override;

    std::size_t panel_bytes_;
};

}  // namespace sterna

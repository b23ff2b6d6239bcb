// Route for ternary matrices with one scale and int8 activations: the matrix is repacked to panels of sixteen rows when
// it is loaded; exact integer sums.
#pragma once

#include "../huge_pages.hpp"
#include "linear.hpp"

namespace sterna {

class TernaryPanels final : public Linear {
public:
    static bool takes(const Tensor& tensor, const ActivationForm& form) {
        return tensor.encoding == Encoding::i2_s && form == ActivationForm{Quantizer::int8} &&
               tensor.group_scales.empty() && tensor.shape[1] <= kMaxPanelColumns;
    }
    TernaryPanels(const Tensor& tensor, const ActivationForm& form, const Kernels& kernels, const std::string& name);

    void prepare(std::size_t thread, std::size_t n_threads) override;
    std::size_t scratch() const override;
    Division division(std::size_t n_tokens, std::size_t n_threads) const override;

private:
    void multiply_rows(const Activations& x, std::size_t first, std::size_t last, const Division& division,
                       float* scratch, const Products& out) const override;

    bool has_lookup_;
    std::size_t panel_bytes_;
    HugePages panels_;
};

}  // namespace sterna

// Route for ternary matrices with one scale and int15 activations: exact sums of the high halves and of the low halves.
#pragma once

#include "linear.hpp"

namespace sterna {

class TernaryInt15 final : public Linear {
public:
    static bool takes(const Tensor& tensor, const ActivationForm& form) {
        return tensor.encoding == Encoding::i2_s && form == ActivationForm{Quantizer::int15} &&
               tensor.group_scales.empty();
    }
    TernaryInt15(const Tensor& tensor, const ActivationForm& form, const Kernels& kernels, const std::string& name)
        : Linear(tensor, form, kernels, name) {}

private:
    void multiply_rows(const Activations& x, std::size_t first, std::size_t last, const Division& division,
                       float* scratch, const Products& out) const override;
};

}  // namespace sterna

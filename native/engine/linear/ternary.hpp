// Route for ternary matrices with one scale: exact integer sums of I2_S codes times int8 activations.
#pragma once

#include "linear.hpp"

namespace sterna {

class Ternary final : public Linear {
public:
    static bool takes(const Tensor& tensor, const ActivationForm& form) {
        return tensor.encoding == Encoding::i2_s && form == ActivationForm{Quantizer::int8} &&
               tensor.group_scales.empty();
    }
    Ternary(const Tensor& tensor, const ActivationForm& form, const Kernels& kernels, const std::string& name)
        : Linear(tensor, form, kernels, name) {}

    std::unique_ptr<Linear> repacked() const override;
    std::size_t scratch() const override;
    Division division(std::size_t n_tokens, std::size_t n_threads) const override;

private:
    bool has_lookup() const;
    void multiply_rows(const Activations& x, std::size_t first, std::size_t last, const Division& division,
                       float* scratch, const Products& out) const override;
};

}  // namespace sterna

// Route for blocks of quantised values and int15 activations: sums within a block, which has one scale, are integers.
#pragma once

#include "linear.hpp"

namespace sterna {

class Int15 final : public Linear {
public:
    static bool takes(const Tensor& tensor, const ActivationForm& form) {
        return format_of(tensor.encoding).activations == Quantizer::int15 && form == ActivationForm{Quantizer::int15};
    }
    Int15(const Tensor& tensor, const ActivationForm& form, const Kernels& kernels, const std::string& name)
        : Linear(tensor, form, kernels, name) {}

private:
    void multiply_rows(const Activations& x, std::size_t first, std::size_t last, const Division&, float*,
                       const Products& out) const override {
        kernels_.int15_dot(
            {encoding_, rows(first, last), x.int15, x.n_tokens, in_features_, {out.data + first, out.stride}});
    }
};

}  // namespace sterna

// Route for heads in Q4_0, Q8_0 and Q6_K with int15 activations that are not to be repacked: rows are multiplied as
// they lie in the file.
#pragma once

#include "linear.hpp"

namespace sterna {

class Int15 final : public Linear {
public:
    static bool takes_encoding(Encoding encoding) {
        return encoding == Encoding::q4_0 || encoding == Encoding::q8_0 || encoding == Encoding::q6_k;
    }
    static bool takes(const Tensor& tensor, const ActivationForm& form) {
        return takes_encoding(tensor.encoding) && form == ActivationForm{Quantizer::int15};
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

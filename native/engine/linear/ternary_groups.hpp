// Route for ternary matrices where the codes or the activations have scales for groups of columns: exact integer sums
// over columns that share both scales, then float32 sums in the order of the columns.
#pragma once

#include "linear.hpp"

namespace sterna {

class TernaryGroups final : public Linear {
public:
    static bool takes(const Tensor& tensor, const ActivationForm& form) {
        return tensor.encoding == Encoding::i2_s && form.quantizer == Quantizer::int8;
    }
    TernaryGroups(const Tensor& tensor, const ActivationForm& form, const Kernels& kernels, const std::string& name);

private:
    void multiply_rows(const Activations& x, std::size_t first, std::size_t last, const Division& division,
                       float* scratch, const Products& out) const override;
    void share_dots(const Activations& x, std::size_t share, const Rows& rows, float* dots) const;

    std::size_t groups_, share_, shares_;  // share: columns with one scale of codes and one of activations
};

}  // namespace sterna

// A stored matrix outside any plan, for training beside weights that stay as they are: its products, as a forward pass
// computes them, and the products with its transpose that gradients need.
#pragma once

#include <memory>
#include <string>

#include "linear/linear.hpp"

namespace sterna {

class FrozenMatrix {
public:
    // The tensor's bytes must outlive the matrix. Throws std::invalid_argument as make_linear does.
    FrozenMatrix(const Tensor& tensor, const ActivationForm& form, const Kernels& kernels, const std::string& name)
        : kernels_(kernels), matrix_(make_linear(tensor, form, kernels, name)) {}

    std::size_t out_features() const { return matrix_->out_features(); }
    std::size_t in_features() const { return matrix_->in_features(); }

    // out [n, out_features] = W x for each row of x [n, in_features], which is quantised first as a pass does it.
    void multiply(const float* x, std::size_t n, std::size_t n_threads, float* out) const;

    // out [n, in_features] = W^T g in float32 for each row of g [n, out_features]: a tile of W is decoded at a time,
    // and the terms of a sum are added in the order of W's rows, whatever the instruction set and the number of
    // threads.
    void multiply_transposed(const float* g, std::size_t n, std::size_t n_threads, float* out) const;

    // out[0, in_features) = row `row` as float32.
    void row(std::size_t row, float* out) const;

private:
    const Kernels& kernels_;
    std::unique_ptr<Linear> matrix_;
};

}  // namespace sterna

// A stored matrix outside any plan, for training beside weights that stay as they are: its products, as a forward pass
// computes them, and the products with its transpose that gradients need.
#pragma once

#include <memory>
#include <string>

#include "frozen_splits.hpp"
#include "frozen_ternary.hpp"

namespace sterna {

class FrozenMatrix {
public:
    // The tensor's bytes must outlive the matrix. Throws std::invalid_argument as make_linear does.
    FrozenMatrix(const Tensor& tensor, const ActivationForm& form, const Kernels& kernels, const std::string& name)
        : kernels_(kernels), tensor_(tensor), matrix_(make_linear(tensor, form, kernels, name)) {}

    std::size_t out_features() const { return matrix_->out_features(); }
    std::size_t in_features() const { return matrix_->in_features(); }

    // out [n, out_features] = W x for each row of x [n, in_features]. int8 activations are quantised first, with the
    // bits of a pass. Others are multiplied as floats where processors do that faster (frozen_splits.hpp), and to int15
    // as a pass does it elsewhere.
    void multiply(const float* x, std::size_t n, std::size_t n_threads, float* out) const;

    // out [n, in_features] = W^T g for each row of g [n, out_features]: in integers where W is ternary
    // (frozen_ternary.hpp). Otherwise a tile of W is decoded at a time, and sums are added by halves of floats
    // (frozen_splits.hpp) or in float32 in the order of W's rows. The bits do not depend on the number of threads, nor,
    // but for halves, on the instruction set.
    void multiply_transposed(const float* g, std::size_t n, std::size_t n_threads, float* out) const;

    // Whether n rows are multiplied together with a low-rank update, forwards and backwards.
    bool adapts(std::size_t n) const { return splits(n) && matrix_->form().quantizer != Quantizer::int8; }
    bool adapts_transposed(std::size_t n) const { return splits(n) && !transposes_ternary(tensor_); }

    // The two products with an update, where these say so.
    void multiply_adapted(const LowRankUpdate& update, const float* x, std::size_t n, std::size_t n_threads,
                          float* out) const {
        multiply_split(kernels_, *matrix_, update, x, n, n_threads, out);
    }
    void multiply_adapted_transposed(const LowRankUpdate& update, const float* g, std::size_t n, std::size_t n_threads,
                                     float* out) const {
        multiply_split_transposed(kernels_, *matrix_, update, g, n, n_threads, out);
    }

    // out[0, in_features) = row `row` as float32.
    void row(std::size_t row, float* out) const;

private:
    bool splits(std::size_t n) const { return kernels_.split != nullptr && n >= kSplitFrom; }

    const Kernels& kernels_;
    Tensor tensor_;
    std::unique_ptr<Linear> matrix_;
};

}  // namespace sterna

// The product with the transpose of ternary rows, by the integer kernels of passes: the transpose is repacked to
// panels, and a gradient becomes three int8 digits of its largest value, 2^-22 of which is the error of rounding.
#pragma once

#include "tensor.hpp"

namespace sterna {

// Whether the matrix has one scale, and columns short enough for sums of 32 bits.
bool transposes_ternary(const Tensor& tensor);

// out [n, in] = W^T g for each row of g [n, out]. The bits are the same on every ISA. A row of g with a number that is
// not finite gives NaN.
void multiply_ternary_transposed(const Kernels& kernels, const Tensor& tensor, const float* g, std::size_t n,
                                 std::size_t n_threads, float* out);

}  // namespace sterna

// Linear, the unit of kernels: a stored matrix and the way it is multiplied. Ternary codes meet int8 activations in
// exact integer sums; every other pair is decoded row by row and multiplied in float32.
#pragma once

#include <span>
#include <string>

#include "tensor.hpp"

namespace sterna {

// Activations of several tokens. Float rows are padded with zeros to `stride`; the int8 view holds the same values
// quantised.
struct Activations {
    std::size_t n_tokens = 0;
    std::size_t stride = 0;  // elements from one token to the next, in both views
    const float* values = nullptr;
    const std::int8_t* codes = nullptr;
    const float* scales = nullptr;       // [n_tokens]: value = code / scale
    const std::int32_t* sums = nullptr;  // [n_tokens]: sum of the token's codes
};

class Linear {
public:
    // `int8` asks for int8 activations, which only I2_S matrices take.
    // Throws std::invalid_argument where shape, bytes or scale do not fit together.
    Linear(const Tensor& tensor, bool int8, const std::string& name);

    std::size_t out_features() const { return out_features_; }
    std::size_t in_features() const { return in_features_; }
    bool takes_int8() const { return int8_; }
    std::size_t scratch() const { return int8_ ? 0 : padded(in_features_); }  // floats

    // out[t * out_stride + r] for rows first <= r < last and all tokens. A result depends on its row and token alone.
    void multiply(const Kernels& kernels, const Activations& x, std::size_t first, std::size_t last, float* scratch,
                  float* out, std::size_t out_stride) const;

    // out[0, in_features) = row `row`, decoded and scaled; `out` has room for padded(in_features).
    void row(const Kernels& kernels, std::size_t row, float* out) const;

private:
    void multiply_int8(const Kernels& kernels, const Activations& x, std::size_t first, std::size_t last, float* out,
                       std::size_t out_stride) const;

    std::size_t out_features_, in_features_, row_bytes_;
    Encoding encoding_;
    bool int8_;
    float scale_;
    const std::uint8_t* data_;
};

}  // namespace sterna

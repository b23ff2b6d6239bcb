// Linear, the unit of kernels: a stored matrix and the way it is multiplied. Ternary codes meet int8 activations in
// exact integer sums; Q4_0, Q8_0 and Q6_K meet activations of 15 bits, in integers too; float matrices meet float32
// activations. What no kernel takes as it lies (ternary codes with float activations, ragged rows) is decoded row by
// row.
#pragma once

#include <algorithm>
#include <span>
#include <string>
#include <utility>

#include "tensor.hpp"

namespace sterna {

// Activations of several tokens. Float rows are padded with zeros to `stride`; the other views hold the same values
// quantised.
struct Activations {
    std::size_t n_tokens = 0;
    std::size_t stride = 0;  // elements from one token to the next
    const float* values = nullptr;
    Int8Activations int8 = {};
    Int15Activations int15 = {};

    // The tokens from `first` on, `n` of them.
    Activations part(std::size_t first, std::size_t n) const;
};

// How a product divides into items that threads share: so many rows times so many tokens; `chunk` of the `items` are
// worth taking at a time. Items of the same tokens follow each other.
struct Division {
    std::size_t rows, tokens, items, chunk;
};

// What a matrix is multiplied with; `int8` is what the plan asks for ternary matrices.
Quantizer activations_of(Encoding encoding, bool int8);

class Linear {
public:
    // `int8` asks for int8 activations, which only I2_S matrices take.
    // Throws std::invalid_argument where shape, bytes or scale do not fit together.
    Linear(const Tensor& tensor, bool int8, const std::string& name);

    std::size_t out_features() const { return out_features_; }
    std::size_t in_features() const { return in_features_; }
    Quantizer activations() const { return activations_; }
    std::size_t scratch(const Kernels& kernels) const;  // floats, for multiply

    Division division(const Kernels& kernels, std::size_t n_tokens, std::size_t n_threads) const;

    // Products for the rows and tokens of the items first <= i < last of a division. A result depends on
    // its row and token alone.
    void multiply(const Kernels& kernels, const Activations& x, const Division& division, std::size_t first,
                  std::size_t last, float* scratch, const Products& out) const;

    // out[0, in_features) = row `row`, decoded and scaled; `out` has room for padded(in_features).
    void row(const Kernels& kernels, std::size_t row, float* out) const;

private:
    bool has_lookup(const Kernels& kernels) const;
    Rows rows(std::size_t first, std::size_t last) const {
        return {data_ + first * row_bytes_, row_bytes_, last - first};
    }
    void multiply_rows(const Kernels& kernels, const Activations& x, std::size_t first, std::size_t last,
                       float* scratch, const Products& out) const;
    void multiply_lookup(const Kernels& kernels, const Activations& x, std::size_t tile, std::size_t first,
                         std::size_t last, float* scratch, const Products& out) const;
    void multiply_groups(const Kernels& kernels, const Activations& x, std::size_t first, std::size_t last,
                         const Products& out) const;

    std::size_t out_features_, in_features_, row_bytes_;
    Encoding encoding_;
    Quantizer activations_;
    bool direct_;  // a kernel takes the rows as they lie
    float scale_;
    const std::uint8_t* data_;
    const float* block_scales_;  // [out_features, in_features / 256], or null
};

}  // namespace sterna

// What the engine knows of a tensor: its description and a view of its bytes, which the caller keeps alive.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "../kernels/kernels.hpp"

namespace sterna {

struct Tensor {
    Encoding encoding = Encoding::f32;
    std::vector<std::size_t> shape;  // row-major: (out_features, in_features) for a matrix
    std::span<const std::uint8_t> bytes;
    float scale = 1.0f;                   // multiplies I2_S codes
    std::span<const float> group_scales;  // of I2_S codes: [rows, groups], one for every group of columns, or none
    bool read_once = false;               // bytes lie in a read-only mapping of a file, whose pages are to be dropped
};

using Tensors = std::map<std::string, Tensor>;

// Throws std::invalid_argument for an unknown name.
Encoding encoding_named(const std::string& name);

// Bytes of one row of n values. A row of I2_S codes fills whole blocks, the last one padded with zeros (code 1); for
// other encodings std::invalid_argument is thrown where n is no multiple of the block.
std::size_t row_bytes(Encoding encoding, std::size_t n);

// A vector of exactly n values, decoded to float32 and padded with zeros to a multiple of kPad.
std::vector<float> padded_vector(const Tensor& tensor, std::size_t n, const std::string& name);

}  // namespace sterna

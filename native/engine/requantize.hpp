// Requantises a stored matrix to another encoding, row by row: only the result takes memory.
#pragma once

#include "tensor.hpp"

namespace sterna {

// Fills `out`, out_features * row_bytes(encoding, in_features) bytes. `encoding` is Q4_0, Q8_0 or Q6_K.
// Throws std::invalid_argument for another encoding, and where a value is not finite or a row does not fill whole
// blocks.
void requantize(const Kernels& kernels, const Tensor& tensor, Encoding encoding, std::size_t n_threads,
                std::span<std::uint8_t> out);

}  // namespace sterna

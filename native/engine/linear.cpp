#include "linear.hpp"

#include <algorithm>
#include <cmath>
#include <stdexcept>

namespace sterna {

namespace {

constexpr std::size_t kRows = 16, kTokens = 64;  // of an item, at most

std::size_t pieces(std::size_t n_tokens) {
    return (n_tokens + kTokens - 1) / kTokens;
}

}  // namespace

Activations Activations::part(std::size_t first, std::size_t n) const {
    const std::size_t at = first * stride;
    return {n,
            stride,
            values + at,
            {int8.codes + at, int8.sums + first, int8.scales + first, stride},
            {wide.high + at, wide.low + at, wide.high_sums + at / 16, wide.low_sums + at / 16, wide.scales + first,
             stride}};
}

Operand operand_of(Encoding encoding, bool int8) {
    if (int8) return Operand::int8;
    return encoding == Encoding::q8_0 || encoding == Encoding::q6_k ? Operand::wide : Operand::float32;
}

Linear::Linear(const Tensor& tensor, bool int8, const std::string& name)
    : encoding_(tensor.encoding),
      operand_(operand_of(tensor.encoding, int8)),
      scale_(tensor.scale),
      data_(tensor.bytes.data()) {
    if (tensor.shape.size() != 2 || tensor.shape[0] == 0 || tensor.shape[1] == 0)
        throw std::invalid_argument("The tensor '" + name + "' must be a matrix.");
    out_features_ = tensor.shape[0];
    in_features_ = tensor.shape[1];
    row_bytes_ = row_bytes(encoding_, in_features_);
    direct_ = operand_ != Operand::float32 || (encoding_ != Encoding::i2_s && in_features_ % 16 == 0);
    std::size_t bytes = 0;
    if (__builtin_mul_overflow(out_features_, row_bytes_, &bytes) || bytes != tensor.bytes.size())
        throw std::invalid_argument("The tensor '" + name + "' has " + std::to_string(tensor.bytes.size()) +
                                    " bytes, which is not what its shape needs.");
    if (!std::isfinite(scale_)) throw std::invalid_argument("The scale of the tensor '" + name + "' is not finite.");
    if (operand_ == Operand::int8 && encoding_ != Encoding::i2_s)
        throw std::invalid_argument("The tensor '" + name + "' is not ternary, so it cannot take int8 activations.");
}

std::size_t Linear::items(std::size_t n_tokens) const {
    return pieces(n_tokens) * ((out_features_ + kRows - 1) / kRows);
}

std::size_t Linear::chunk(std::size_t n_tokens) const {
    // Three items make a block of rows for many tokens; for few, what counts is a long read.
    constexpr std::size_t kLongRead = 65536;
    return n_tokens >= kRows ? 3 : std::max<std::size_t>(kLongRead / (kRows * row_bytes_), 1);
}

void Linear::multiply(const Kernels& kernels, const Activations& x, std::size_t first, std::size_t last, float* scratch,
                      float* out, std::size_t out_stride) const {
    const std::size_t groups = (out_features_ + kRows - 1) / kRows, n_pieces = pieces(x.n_tokens);
    while (first < last) {
        const std::size_t piece = first / groups, end = std::min(last, (piece + 1) * groups);
        const std::size_t t = x.n_tokens * piece / n_pieces, t_end = x.n_tokens * (piece + 1) / n_pieces;
        multiply_rows(kernels, x.part(t, t_end - t), (first - piece * groups) * kRows,
                      std::min((end - piece * groups) * kRows, out_features_), scratch, out + t * out_stride,
                      out_stride);
        first = end;
    }
}

void Linear::multiply_rows(const Kernels& kernels, const Activations& x, std::size_t first, std::size_t last,
                           float* scratch, float* out, std::size_t out_stride) const {
    const std::uint8_t* rows = data_ + first * row_bytes_;
    if (operand_ == Operand::int8)
        return kernels.ternary_dot(rows, row_bytes_, last - first, scale_, x.int8, x.n_tokens, padded(in_features_),
                                   out + first, out_stride);
    if (operand_ == Operand::wide)
        return kernels.wide_dot(encoding_, rows, row_bytes_, last - first, x.wide, x.n_tokens, in_features_,
                                out + first, out_stride);
    if (direct_)
        return kernels.float_dot(encoding_, rows, row_bytes_, last - first, x.values, x.stride, x.n_tokens,
                                 in_features_, out + first, out_stride);
    const std::size_t n = padded(in_features_);
    std::fill(scratch + in_features_, scratch + n, 0.0f);
    for (std::size_t r = first; r < last; ++r) {
        row(kernels, r, scratch);
        for (std::size_t t = 0; t < x.n_tokens; ++t)
            out[t * out_stride + r] = kernels.dot(scratch, x.values + t * x.stride, n);
    }
}

void Linear::row(const Kernels& kernels, std::size_t row, float* out) const {
    if (encoding_ != Encoding::i2_s) return kernels.decode(encoding_, data_ + row * row_bytes_, in_features_, out);
    kernels.decode(encoding_, data_ + row * row_bytes_, padded(in_features_), out);
    for (std::size_t k = 0; k < in_features_; ++k) out[k] *= scale_;
}

}  // namespace sterna

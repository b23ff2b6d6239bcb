#include "linear.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <stdexcept>

#include "../../platform/memory.hpp"

namespace sterna {
namespace {

// Bytes of a mapped file that are in memory beside their copy.
constexpr std::size_t kFilled = 1 << 20;

// Bytes of a matrix whose pages may stay: giving them back for each row takes longer than reading the row.
constexpr std::size_t kSmall = 8 << 20;

}  // namespace

Activations Activations::part(std::size_t first, std::size_t n) const {
    const std::size_t at = first * int15.stride, of_groups = first * int8.groups;
    return {
        n,
        stride,
        values + first * stride,
        {int8.codes + first * int8.stride, int8.sums + of_groups, int8.scales + of_groups, int8.stride, int8.groups},
        {int15.high + at, int15.low + at, int15.high_sums + at / 16, int15.low_sums + at / 16, int15.eights + at / 4,
         int15.values + at, int15.sixteens + at / 16, int15.thirty_twos + at / 32, int15.scales + first, int15.stride}};
}

Linear::Linear(const Tensor& tensor, const ActivationForm& form, const Kernels& kernels, const std::string& name)
    : kernels_(kernels),
      form_(form),
      encoding_(tensor.encoding),
      scale_(tensor.scale),
      group_scales_(tensor.group_scales),
      data_(tensor.bytes.data()),
      read_once_(tensor.read_once) {
    if (tensor.shape.size() != 2 || tensor.shape[0] == 0 || tensor.shape[1] == 0)
        throw std::invalid_argument("The tensor '" + name + "' must be a matrix.");
    out_features_ = tensor.shape[0];
    in_features_ = tensor.shape[1];
    row_bytes_ = row_bytes(encoding_, in_features_);
    std::size_t bytes = 0;
    if (__builtin_mul_overflow(out_features_, row_bytes_, &bytes) || bytes != tensor.bytes.size())
        throw std::invalid_argument("The tensor '" + name + "' has " + std::to_string(tensor.bytes.size()) +
                                    " bytes, which is not what its shape needs.");
    if (!std::isfinite(scale_)) throw std::invalid_argument("The scale of the tensor '" + name + "' is not finite.");
    const std::size_t groups = group_scales_.size() / out_features_;
    if (!group_scales_.empty() && (group_scales_.size() % out_features_ != 0 || in_features_ % groups != 0))
        throw std::invalid_argument("The tensor '" + name + "' has scales that do not fit its columns.");
    for (const float scale : group_scales_)
        if (!std::isfinite(scale)) throw std::invalid_argument("A scale of the tensor '" + name + "' is not finite.");
}

void Linear::fill(std::uint8_t* memory, std::size_t thread, std::size_t n_threads, std::size_t part,
                  std::size_t n_parts) const {
    const std::size_t tiles = parts(out_features_, kTileRows);
    const std::size_t begin = tiles * thread / n_threads, share = tiles * (thread + 1) / n_threads - begin;
    const std::size_t first = (begin + share * part / n_parts) * kTileRows;
    const std::size_t last = std::min((begin + share * (part + 1) / n_parts) * kTileRows, out_features_);
    const std::size_t step = std::max<std::size_t>(kFilled / row_bytes_ / kTileRows, 1) * kTileRows;
    const std::uint8_t* kept = data_ + first * row_bytes_;
    for (std::size_t r = first; r < last; r += step) {
        const std::size_t end = std::min(r + step, last);
        pack(r, end, memory);
        if (read_once_) kept = drop_pages(kept, data_ + end * row_bytes_);
    }
}

void Linear::drop() const {
    const std::size_t bytes = out_features_ * row_bytes_;
    if (read_once_ && bytes > kSmall) drop_pages(data_, data_ + bytes);
}

void Linear::drop_behind(std::size_t first, std::size_t last) const {
    const std::size_t step = std::max<std::size_t>(kFilled / row_bytes_, 1);
    const std::size_t begin = first / step * step, end = last == out_features_ ? last : last / step * step;
    if (read_once_ && begin < end) drop_pages(data_ + begin * row_bytes_, data_ + end * row_bytes_);
}

void Linear::pack(std::size_t first, std::size_t last, std::uint8_t* memory) const {
    std::memcpy(memory + first * row_bytes_, data_ + first * row_bytes_, (last - first) * row_bytes_);
}

Division Linear::division(std::size_t n_tokens, std::size_t) const {
    // A chunk of three items makes a block of 48 rows.
    constexpr std::size_t kLongRead = 65536;
    const std::size_t pieces = parts(n_tokens, kMostTokens), tokens = parts(n_tokens, pieces);
    const std::size_t chunk =
        n_tokens >= kLeastBlockTokens ? 3 : std::max<std::size_t>(kLongRead / (kTileRows * row_bytes_), 1);
    return {kTileRows, tokens, parts(n_tokens, tokens) * parts(out_features_, kTileRows), chunk};
}

void Linear::multiply(const Activations& x, const Division& division, std::size_t first, std::size_t last,
                      float* scratch, const Products& out) const {
    const std::size_t tiles = parts(out_features_, division.rows);
    while (first < last) {
        const std::size_t piece = first / tiles, end = std::min(last, (piece + 1) * tiles);
        const std::size_t t = piece * division.tokens, n_tokens = std::min(division.tokens, x.n_tokens - t);
        const std::size_t row = (first - piece * tiles) * division.rows;
        const std::size_t row_end = std::min((end - piece * tiles) * division.rows, out_features_);
        multiply_rows(x.part(t, n_tokens), row, row_end, division, scratch, {out.data + t * out.stride, out.stride});
        first = end;
    }
}

void Linear::columns(std::size_t row, std::size_t first, std::size_t last, float* out) const {
    const Format& format = format_of(encoding_);
    const std::size_t n = last - first;
    const std::uint8_t* blocks = data_ + row * row_bytes_ + first / format.values * format.bytes;
    kernels_.decode(encoding_, blocks, encoding_ == Encoding::i2_s ? padded(n) : n, out);
    if (scale_ != 1.0f)
        for (std::size_t k = 0; k < n; ++k) out[k] *= scale_;
    if (group_scales_.empty()) return;
    const std::size_t groups = group_scales_.size() / out_features_, group = in_features_ / groups;
    const float* scales = group_scales_.data() + row * groups;
    for (std::size_t k = 0; k < n; ++k) out[k] *= scales[(first + k) / group];
}

}  // namespace sterna

#include "linear.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <stdexcept>

#include "repack.hpp"

namespace sterna {

namespace {

// Items of the tile kernels: whole cache lines of the output, and activations that stay in the second cache while rows
// pass.
constexpr std::size_t kRows = 16, kTokens = 64;

// Tables gain nothing for fewer rows (building one costs about as much as 100) or tokens (which share the lookup of
// entries).
constexpr std::size_t kLeastLookupRows = 512, kLeastLookupTokens = 2 * kLookupGroup;

std::size_t parts(std::size_t n, std::size_t most) {
    return (n + most - 1) / most;
}

}  // namespace

Activations Activations::part(std::size_t first, std::size_t n) const {
    const std::size_t at = first * stride;
    return {n,
            stride,
            values + at,
            {int8.codes + at, int8.sums + first, int8.scales + first, stride},
            {int15.high + at, int15.low + at, int15.high_sums + at / 16, int15.low_sums + at / 16,
             int15.eights + at / 4, int15.scales + first, stride}};
}

Quantizer activations_of(Encoding encoding, bool int8) {
    if (int8) return Quantizer::int8;
    return format_of(encoding).activations == Quantizer::int15 ? Quantizer::int15 : Quantizer::none;
}

Linear::Linear(const Tensor& tensor, bool int8, const std::string& name)
    : encoding_(tensor.encoding),
      activations_(activations_of(tensor.encoding, int8)),
      scale_(tensor.scale),
      data_(tensor.bytes.data()),
      block_scales_(tensor.block_scales.empty() ? nullptr : tensor.block_scales.data()) {
    if (tensor.shape.size() != 2 || tensor.shape[0] == 0 || tensor.shape[1] == 0)
        throw std::invalid_argument("The tensor '" + name + "' must be a matrix.");
    out_features_ = tensor.shape[0];
    in_features_ = tensor.shape[1];
    row_bytes_ = row_bytes(encoding_, in_features_);
    direct_ = activations_ != Quantizer::none || (format_of(encoding_).is_plain() && in_features_ % 16 == 0);
    std::size_t bytes = 0;
    if (__builtin_mul_overflow(out_features_, row_bytes_, &bytes) || bytes != tensor.bytes.size())
        throw std::invalid_argument("The tensor '" + name + "' has " + std::to_string(tensor.bytes.size()) +
                                    " bytes, which is not what its shape needs.");
    if (!std::isfinite(scale_)) throw std::invalid_argument("The scale of the tensor '" + name + "' is not finite.");
    if (block_scales_ != nullptr && (encoding_ != Encoding::i2_s || in_features_ % kTqBlock != 0 ||
                                     tensor.block_scales.size() != out_features_ * (in_features_ / kTqBlock)))
        throw std::invalid_argument("The tensor '" + name + "' has scales that do not fit its blocks.");
    for (const float scale : tensor.block_scales)
        if (!std::isfinite(scale)) throw std::invalid_argument("A scale of the tensor '" + name + "' is not finite.");
    if (activations_ == Quantizer::int8 && encoding_ != Encoding::i2_s)
        throw std::invalid_argument("The tensor '" + name + "' is not ternary, so it cannot take int8 activations.");
}

bool Linear::has_lookup(const Kernels& kernels) const {
    return kernels.lookup_dot != nullptr && activations_ == Quantizer::int8 && block_scales_ == nullptr &&
           out_features_ >= kLeastLookupRows;
}

std::size_t Linear::scratch(const Kernels& kernels) const {
    if (has_lookup(kernels)) return kLookupScratch / sizeof(float);
    return direct_ ? 0 : padded(in_features_);
}

Division Linear::division(const Kernels& kernels, std::size_t n_tokens, std::size_t n_threads) const {
    std::size_t rows = kRows, pieces = parts(n_tokens, kTokens), tokens = parts(n_tokens, pieces);
    // Three items make a block of rows for many tokens; for few, what counts is a long read.
    constexpr std::size_t kLongRead = 65536;
    std::size_t chunk = n_tokens >= kRows ? 3 : std::max<std::size_t>(kLongRead / (kRows * row_bytes_), 1);
    if (n_tokens >= kLeastLookupTokens && has_lookup(kernels)) {
        // High tiles, as many for each thread; where there are too few rows for that, the tokens are parted.
        const std::size_t even = parts(parts(out_features_, kLookupRows), n_threads) * n_threads;
        const std::size_t tiles = std::min(even, out_features_ / kLeastLookupRows);
        rows = parts(parts(out_features_, tiles), kRows) * kRows;
        pieces = std::max(parts(n_tokens, kLookupTokens), parts(n_threads, tiles));
        tokens = parts(parts(n_tokens, pieces), kLookupGroup) * kLookupGroup;
        chunk = 1;
    }
    return {rows, tokens, parts(n_tokens, tokens) * parts(out_features_, rows), chunk};
}

void Linear::multiply(const Kernels& kernels, const Activations& x, const Division& division, std::size_t first,
                      std::size_t last, float* scratch, const Products& out) const {
    const std::size_t tiles = parts(out_features_, division.rows);
    while (first < last) {
        const std::size_t piece = first / tiles, end = std::min(last, (piece + 1) * tiles);
        const std::size_t t = piece * division.tokens, n_tokens = std::min(division.tokens, x.n_tokens - t);
        const std::size_t row = (first - piece * tiles) * division.rows;
        const std::size_t row_end = std::min((end - piece * tiles) * division.rows, out_features_);
        const Products place{out.data + t * out.stride, out.stride};
        if (division.rows > kRows)  // only items of lookups are so high
            multiply_lookup(kernels, x.part(t, n_tokens), division.rows, row, row_end, scratch, place);
        else
            multiply_rows(kernels, x.part(t, n_tokens), row, row_end, scratch, place);
        first = end;
    }
}

// Lookups for whole groups of tokens, tiles for the rest, while a tile's codes are in the cache.
void Linear::multiply_lookup(const Kernels& kernels, const Activations& x, std::size_t tile, std::size_t first,
                             std::size_t last, float* scratch, const Products& out) const {
    const std::size_t whole = x.n_tokens / kLookupGroup * kLookupGroup, n = padded(in_features_);
    for (std::size_t r = first; r < last; r += tile) {
        const std::size_t end = std::min(r + tile, last);
        if (whole > 0)
            kernels.lookup_dot({rows(r, end), scale_, x.int8, whole, n, {out.data + r, out.stride}},
                               reinterpret_cast<std::uint8_t*>(scratch));
        if (whole < x.n_tokens)
            multiply_rows(kernels, x.part(whole, x.n_tokens - whole), r, end, scratch,
                          {out.data + whole * out.stride, out.stride});
    }
}

void Linear::multiply_rows(const Kernels& kernels, const Activations& x, std::size_t first, std::size_t last,
                           float* scratch, const Products& out) const {
    const Products place{out.data + first, out.stride};
    if (activations_ == Quantizer::int8 && block_scales_ != nullptr)
        return multiply_groups(kernels, x, first, last, out);
    if (activations_ == Quantizer::int8)
        return kernels.ternary_dot({rows(first, last), scale_, x.int8, x.n_tokens, padded(in_features_), place});
    if (activations_ == Quantizer::int15)
        return kernels.int15_dot({encoding_, rows(first, last), x.int15, x.n_tokens, in_features_, place});
    const FloatActivations values{x.values, x.stride};
    if (direct_) return kernels.float_dot({encoding_, rows(first, last), values, x.n_tokens, in_features_, place});
    const std::size_t n = padded(in_features_);
    std::fill(scratch + in_features_, scratch + n, 0.0f);
    const Rows decoded{reinterpret_cast<const std::uint8_t*>(scratch), 4 * n, 1};
    for (std::size_t r = first; r < last; ++r) {
        row(kernels, r, scratch);
        kernels.float_dot({Encoding::f32, decoded, values, x.n_tokens, n, {out.data + r, out.stride}});
    }
}

// The exact sums of each group of columns, times the group's scale, added in float32 from the first group to the last.
void Linear::multiply_groups(const Kernels& kernels, const Activations& x, std::size_t first, std::size_t last,
                             const Products& out) const {
    constexpr std::size_t kTileRows = 48, kTileTokens = 64;
    const std::size_t blocks = in_features_ / kTqBlock;
    std::array<float, kTileRows * kTileTokens> dots;
    std::array<std::int32_t, kTileTokens> sums;
    std::array<float, kTileTokens> ones;
    ones.fill(1.0f);
    for (std::size_t t = 0; t < x.n_tokens; t += kTileTokens) {
        const std::size_t n_tokens = std::min(kTileTokens, x.n_tokens - t);
        for (std::size_t r = first; r < last; r += kTileRows) {
            const std::size_t n_rows = std::min(kTileRows, last - r);
            const auto at = [&](std::size_t i) { return out.data + (t + i) * out.stride + r; };
            for (std::size_t i = 0; i < n_tokens; ++i) std::fill_n(at(i), n_rows, 0.0f);
            for (std::size_t block = 0; block < blocks; ++block) {
                const std::int8_t* codes = x.int8.codes + t * x.int8.stride + block * kTqBlock;
                for (std::size_t i = 0; i < n_tokens; ++i) {
                    sums[i] = 0;
                    for (std::size_t k = 0; k < kTqBlock; ++k) sums[i] += codes[i * x.int8.stride + k];
                }
                Rows part = rows(r, r + n_rows);
                part.data += block * kTqBlock / 4;
                kernels.ternary_dot({part,
                                     1.0f,
                                     {codes, sums.data(), ones.data(), x.int8.stride},
                                     n_tokens,
                                     kTqBlock,
                                     {dots.data(), kTileRows}});
                for (std::size_t i = 0; i < n_tokens; ++i)
                    for (std::size_t j = 0; j < n_rows; ++j)
                        at(i)[j] += dots[i * kTileRows + j] * block_scales_[(r + j) * blocks + block];
            }
            for (std::size_t i = 0; i < n_tokens; ++i)
                for (std::size_t j = 0; j < n_rows; ++j) at(i)[j] *= scale_ / x.int8.scales[t + i];
        }
    }
}

void Linear::row(const Kernels& kernels, std::size_t row, float* out) const {
    if (encoding_ != Encoding::i2_s) return kernels.decode(encoding_, data_ + row * row_bytes_, in_features_, out);
    kernels.decode(encoding_, data_ + row * row_bytes_, padded(in_features_), out);
    for (std::size_t k = 0; k < in_features_; ++k) out[k] *= scale_;
    if (block_scales_ == nullptr) return;
    const float* scales = block_scales_ + row * (in_features_ / kTqBlock);
    for (std::size_t k = 0; k < in_features_; ++k) out[k] *= scales[k / kTqBlock];
}

}  // namespace sterna

// Products of stored matrices with floats on processors that multiply halves of floats (split_amx.hpp). A tile of the
// matrix is decoded at a time.
#pragma once

#include "linear/linear.hpp"

namespace sterna {

// From so many tokens on.
inline constexpr std::size_t kSplitFrom = 16;

// The update of a matrix: W x + B h with h = scale * A x, for a [rank, in_features] and b [out_features, rank]; and
// W^T g + A^T h with h = scale * B^T g. The rows of h [n, rank] are written to `hidden`. A rank of 0 is none.
struct LowRankUpdate {
    const float *a = nullptr, *b = nullptr;
    std::size_t rank = 0;
    float scale = 0;
    float* hidden = nullptr;
};

// out [n, out_features] = W x + B h for each row of x [n, in_features].
void multiply_split(const Kernels& kernels, const Linear& matrix, const LowRankUpdate& update, const float* x,
                    std::size_t n, std::size_t n_threads, float* out);

// out [n, in_features] = W^T g + A^T h for each row of g [n, out_features].
void multiply_split_transposed(const Kernels& kernels, const Linear& matrix, const LowRankUpdate& update,
                               const float* g, std::size_t n, std::size_t n_threads, float* out);

}  // namespace sterna

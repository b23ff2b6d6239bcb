// int15 activations of some tokens in memory of their own, for checks and tests.
#pragma once

#include <vector>

#include "kernels.hpp"

namespace sterna {

class Int15Vectors {
public:
    // Quantises the rows of x [n_tokens, stride].
    Int15Vectors(const Kernels& kernels, const float* x, std::size_t n_tokens, std::size_t stride)
        : high(n_tokens * stride),
          low(high.size()),
          high_sums(high.size() / 16),
          low_sums(high.size() / 16),
          eights(high.size() / 4),
          values(high.size()),
          sixteens(high.size() / 16),
          thirty_twos(high.size() / 32),
          scales(n_tokens),
          stride_(stride) {
        for (std::size_t t = 0; t < n_tokens; ++t) {
            const std::size_t at = t * stride;
            kernels.quantize_int15(x + at, stride,
                                   {high.data() + at, low.data() + at, high_sums.data() + at / 16,
                                    low_sums.data() + at / 16, eights.data() + at / 4, values.data() + at,
                                    sixteens.data() + at / 16, thirty_twos.data() + at / 32, scales.data() + t});
        }
    }

    Int15Activations view() const {
        return {high.data(),   low.data(),      high_sums.data(),   low_sums.data(), eights.data(),
                values.data(), sixteens.data(), thirty_twos.data(), scales.data(),   stride_};
    }

    std::vector<std::int8_t> high, low;
    std::vector<std::int16_t> high_sums, low_sums;
    std::vector<std::int32_t> eights;
    std::vector<std::int16_t> values;
    std::vector<float> sixteens, thirty_twos, scales;

private:
    std::size_t stride_;
};

}  // namespace sterna

#include "ternary_int15.hpp"

#include <algorithm>
#include <array>

namespace sterna {

void TernaryInt15::multiply_rows(const Activations& all, std::size_t first, std::size_t last, const Division&, float*,
                                 const Products& out) const {
    constexpr std::size_t kTokens = 64, kRows = 48;
    const std::size_t n = padded(in_features_);
    std::array<float, kRows * kTokens> high, low;
    std::array<std::int32_t, kTokens> sums;
    std::array<float, kTokens> ones;
    ones.fill(1.0f);
    for (std::size_t t = 0; t < all.n_tokens; t += kTokens) {
        const Activations x = all.part(t, std::min(kTokens, all.n_tokens - t));
        for (std::size_t r = first; r < last; r += kRows) {
            const Rows part = rows(r, std::min(r + kRows, last));
            // The dots are whole numbers below 2^24, so float32 holds them exactly.
            const auto dots = [&](const std::int8_t* codes, const std::int16_t* of_sixteen, float* products) {
                for (std::size_t i = 0; i < x.n_tokens; ++i) {
                    sums[i] = 0;
                    for (std::size_t g = 0; g < n / 16; ++g) sums[i] += of_sixteen[i * x.int15.stride / 16 + g];
                }
                kernels_.ternary_dot(
                    {part, 1.0f, {codes, sums.data(), ones.data(), x.int15.stride}, x.n_tokens, n, {products, kRows}});
            };
            dots(x.int15.high, x.int15.high_sums, high.data());
            dots(x.int15.low, x.int15.low_sums, low.data());
            for (std::size_t i = 0; i < x.n_tokens; ++i) {
                const float factor = scale_ / x.int15.scales[i];
                float* place = out.data + (t + i) * out.stride + r;
                for (std::size_t j = 0; j < part.count; ++j)
                    place[j] = (128.0f * high[i * kRows + j] + low[i * kRows + j]) * factor;
            }
        }
    }
}

}  // namespace sterna

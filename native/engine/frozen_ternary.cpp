#include "frozen_ternary.hpp"

#include <algorithm>
#include <bit>
#include <limits>

#include "../kernels/dispatch.hpp"
#include "linear/linear.hpp"
#include "shares.hpp"
#include "thread_pool.hpp"

namespace sterna {
namespace {

constexpr std::size_t kDigits = 3, kTransposedRows = 16, kBlock = 128;

// Tokens of an item, whose digits are as many rows of activations as stay in L2, and rows of the transpose.
constexpr std::size_t kTokens = 128 / kDigits, kRows = 64;

// The largest number of three digits whose sum with 1.5 * 2^23 is exact: 63, 127, 127.
constexpr float kLargest = 63 * 65536 + 127 * 256 + 127;

float largest_magnitude(const float* x, std::size_t n) {
    std::int32_t most = 0;  // of the bits without their sign, in which NaN and infinity are the largest
    for (std::size_t k = 0; k < n; ++k) most = std::max(most, std::bit_cast<std::int32_t>(x[k]) & 0x7fffffff);
    return std::bit_cast<float>(most);
}

// Digits of a row of n numbers to codes[digit * stride + k], the highest first, and the sums of each digit. Returns
// what the numbers were multiplied by: 65536 * first + 256 * second + third = round(x * factor).
float to_digits(const float* x, std::size_t n, std::int8_t* codes, std::size_t stride, std::int32_t (&sums)[kDigits]) {
    constexpr float kMagic = 12582912.0f;  // 1.5 * 2^23: the sum's last bits are the rounded number
    constexpr float kLeast = 1e-30f;
    const float most = largest_magnitude(x, n);
    std::fill_n(sums, kDigits, 0);
    if (!(most < std::numeric_limits<float>::infinity())) {
        for (std::size_t digit = 0; digit < kDigits; ++digit) std::fill_n(codes + digit * stride, n, std::int8_t{0});
        return std::numeric_limits<float>::quiet_NaN();
    }
    const float factor = kLargest / std::max(most, kLeast);
    std::int8_t *first = codes, *second = codes + stride, *third = codes + 2 * stride;
    std::int32_t of_first = 0, of_second = 0, of_third = 0;
    for (std::size_t k = 0; k < n; ++k) {
        const std::int32_t whole =
            std::bit_cast<std::int32_t>(x[k] * factor + kMagic) - std::bit_cast<std::int32_t>(kMagic);
        const auto low = static_cast<std::int8_t>(whole);
        const std::int32_t rest = (whole - low) >> 8;
        const auto middle = static_cast<std::int8_t>(rest);
        const auto high = static_cast<std::int8_t>((rest - middle) >> 8);
        first[k] = high, second[k] = middle, third[k] = low;
        of_first += high, of_second += middle, of_third += low;
    }
    sums[0] = of_first, sums[1] = of_second, sums[2] = of_third;
    return factor;
}

}  // namespace

bool transposes_ternary(const Tensor& tensor) {
    return tensor.encoding == Encoding::i2_s && tensor.group_scales.empty() &&
           padded(tensor.shape[0]) <= kMaxPanelColumns;
}

void multiply_ternary_transposed(const Kernels& kernels, const Tensor& tensor, const float* g, std::size_t n,
                                 std::size_t n_threads, float* out) {
    const std::size_t terms = tensor.shape[0], columns = tensor.shape[1], blocks = parts(columns, kBlock);
    const Rows rows{tensor.bytes.data(), row_bytes(tensor.encoding, columns), terms};
    const std::size_t cols = padded(terms), stride = cols + 64;  // an odd number of cache lines, as slots have them
    const std::size_t panel_bytes = kTransposedRows * cols / 4;
    const std::vector<float> ones(kDigits * kTokens, 1.0f);
    std::vector<float> factors(n);
    std::vector<std::int32_t> sums(kDigits * n);
    const std::unique_ptr<std::int8_t[]> codes(new std::int8_t[kDigits * n * stride]);
    const std::unique_ptr<std::uint8_t[]> panels(new std::uint8_t[blocks * 8 * panel_bytes]);
    const std::size_t pieces = parts(n, kTokens), tokens = parts(n, std::max<std::size_t>(pieces, 1));
    const std::size_t tiles = parts(columns, kRows);

    Shares packing(n_threads), quantizing(n_threads), multiplying(n_threads);
    ThreadPool::instance().run(n_threads, [&](std::size_t thread, Barrier& barrier) {
        packing.each(thread, blocks, 1, [&](std::size_t block, std::size_t) {
            kernels.pack_transposed_panels(rows, block, cols, panels.get() + block * 8 * panel_bytes);
        });
        // The rows of a piece are those of its tokens' first digits, then of the second and of the third.
        quantizing.each(thread, n, 1, [&](std::size_t t, std::size_t) {
            const std::size_t piece = t / tokens, count = std::min(tokens, n - piece * tokens);
            const std::size_t row = kDigits * piece * tokens + t % tokens;
            std::int32_t of_digits[kDigits];
            factors[t] = to_digits(g + t * terms, terms, codes.get() + row * stride, count * stride, of_digits);
            for (std::size_t digit = 0; digit < kDigits; ++digit) {
                sums[row + digit * count] = of_digits[digit];
                std::fill_n(codes.get() + (row + digit * count) * stride + terms, cols - terms, std::int8_t{0});
            }
        });
        barrier.wait(n_threads);
        std::vector<float> products(kDigits * tokens * kRows);
        multiplying.each(thread, pieces * tiles, 1, [&](std::size_t item, std::size_t) {
            const std::size_t first = item / tiles * tokens, count = std::min(tokens, n - first);
            const std::size_t row = item % tiles * kRows, width = std::min(kRows, columns - row);
            kernels.ternary_panel_dot(
                {panels.get() + row / kTransposedRows * panel_bytes,
                 width,
                 1.0f,
                 {codes.get() + kDigits * first * stride, sums.data() + kDigits * first, ones.data(), stride},
                 kDigits * count,
                 cols,
                 fetch_distance(),
                 {products.data(), kRows}});
            for (std::size_t t = 0; t < count; ++t) {
                const float scale = tensor.scale / factors[first + t];
                const float *high = products.data() + t * kRows, *middle = high + count * kRows,
                            *low = middle + count * kRows;
                float* sum = out + (first + t) * columns + row;
                for (std::size_t k = 0; k < width; ++k)
                    sum[k] = ((high[k] * 65536.0f + middle[k] * 256.0f) + low[k]) * scale;
            }
        });
    });
}

}  // namespace sterna

#include "frozen_splits.hpp"

#include <algorithm>
#include <cstring>
#include <functional>
#include <span>
#include <vector>

#include "buffer.hpp"
#include "shares.hpp"
#include "thread_pool.hpp"

namespace sterna {
namespace {

// Tokens whose sums stay in L2, and lines of a tile of such sums.
constexpr std::size_t kTokens = 512, kLines = 16;

// A tile that is decoded at a time: rows as they are stored, and columns, whole blocks of any encoding. Rows of W are
// columns of the product, rows of its transpose are terms.
constexpr std::size_t kRowsOfColumns = 64, kRowsOfTerms = 128, kStored = 256;

std::size_t rounded(std::size_t n, std::size_t multiple) {
    return parts(n, multiple) * multiple;
}

// Rows of floats as halves, in the blocks of a SplitTask, padded with zeros.
class SplitRows {
public:
    SplitRows(const float* rows, std::size_t n, std::size_t width)
        : rows_(rows),
          n_(n),
          width_(width),
          stride_(parts(width, kSplitTerms) * kSplitBlock),
          blocks_(new std::uint16_t[count() / kSplitTokens * stride_]) {}

    std::size_t count() const { return rounded(n_, kSplitTokens); }
    std::size_t width() const { return width_; }
    std::size_t stride() const { return stride_; }
    const std::uint16_t* at(std::size_t row, std::size_t term) const {
        return blocks_.get() + row / kSplitTokens * stride_ + term / kSplitTerms * kSplitBlock;
    }

    void split(const Kernels& kernels, std::size_t row) {
        std::uint16_t* out = blocks_.get() + row / kSplitTokens * stride_ + row % kSplitTokens * kSplitTerms;
        const std::size_t width = row < n_ ? width_ : 0, whole = width / kSplitTerms * kSplitTerms;
        kernels.split(rows_ + row * width_, whole, out);
        for (std::size_t k = whole; k < width_; k += kSplitTerms) {
            float rest[kSplitTerms] = {};
            if (k < width) std::copy_n(rows_ + row * width_ + k, width - k, rest);
            kernels.split(rest, kSplitTerms, out + k / kSplitTerms * kSplitBlock);
        }
    }

private:
    const float* rows_;
    std::size_t n_, width_, stride_;
    std::unique_ptr<std::uint16_t[]> blocks_;
};

// A product of rows with a matrix of which read(row, first, last, out) reads a part of a stored row.
struct Factor {
    const SplitRows& rows;
    std::function<void(std::size_t, std::size_t, std::size_t, float*)> read;
};

Factor of_floats(const SplitRows& rows, const float* matrix, std::size_t width) {
    return {rows, [=](std::size_t row, std::size_t first, std::size_t last, float* out) {
                std::copy(matrix + row * width + first, matrix + row * width + last, out);
            }};
}

// What a thread multiplies with: matrices stored by columns of the product, or by terms.
class Multiplier {
public:
    Multiplier(const Kernels& kernels, bool by_columns, std::size_t tokens)
        : kernels_(kernels),
          by_columns_(by_columns),
          tile_((by_columns ? kRowsOfColumns : kRowsOfTerms) * kStored),
          sums_(std::min(kTokens, rounded(tokens, kSplitTokens)) * most_columns()) {}

    std::size_t most_columns() const { return by_columns_ ? kRowsOfColumns : kStored; }

    // out[t * width + c] = the sum of the products, for n tokens from `first` on, which begins a block of tokens, and
    // at most most_columns() columns.
    void multiply(std::span<const Factor> factors, std::size_t first, std::size_t n, std::size_t column,
                  std::size_t columns, float* out, std::size_t width) const {
        const std::size_t tiled = rounded(columns, kSplitColumns);
        for (std::size_t t = first; t < first + n; t += kTokens) {
            const std::size_t count = std::min(kTokens, first + n - t);
            std::fill_n(sums_.get(), rounded(count, kSplitTokens) * tiled, 0.0f);
            for (const Factor& factor : factors) add(factor, t, rounded(count, kSplitTokens), column, columns);
            for (std::size_t i = 0; i < count; ++i)
                copy_row(sums_.get() + i / kLines * kLines * tiled + i % kLines * kLines, columns,
                         out + (t + i) * width + column);
        }
    }

private:
    // Lines of a row lie a tile apart. Whole ones have a size that the compiler knows.
    static void copy_row(const float* lines, std::size_t columns, float* out) {
        for (; columns >= kLines; columns -= kLines, lines += kLines * kLines, out += kLines)
            std::memcpy(out, lines, kLines * sizeof(float));
        std::copy_n(lines, columns, out);
    }

    void add(const Factor& factor, std::size_t token, std::size_t tokens, std::size_t column,
             std::size_t columns) const {
        const std::size_t all = factor.rows.width(), step = by_columns_ ? kStored : kRowsOfTerms;
        for (std::size_t term = 0; term < all; term += step) {
            const std::size_t terms = std::min(step, all - term);
            for (std::size_t r = 0; r < (by_columns_ ? columns : terms); ++r)
                if (by_columns_)
                    factor.read(column + r, term, term + terms, tile_.get() + r * kStored);
                else
                    factor.read(term + r, column, column + columns, tile_.get() + r * kStored);
            for (std::size_t k = 0; k < terms; k += kMostSplitTerms)
                kernels_.add_split_products(
                    {factor.rows.at(token, term + k), factor.rows.stride(),
                     tile_.get() + k * (by_columns_ ? 1 : kStored), kStored, by_columns_, sums_.get(), tokens,
                     rounded(std::min(kMostSplitTerms, terms - k), kSplitTerms), rounded(columns, kSplitColumns)});
        }
    }

    const Kernels& kernels_;
    bool by_columns_;
    Buffer<float> tile_, sums_;
};

// A low-rank update of a product: `down` is stored as the matrix is, of `rank` columns, `up` likewise, of `rank` terms.
struct Update {
    const float *down, *up;
    std::size_t down_width, up_width;
};

void multiply(const Kernels& kernels, const Linear& matrix, bool by_columns, const Update& low,
              const LowRankUpdate& update, const float* x, std::size_t terms, std::size_t n, std::size_t columns,
              std::size_t n_threads, float* out) {
    SplitRows rows(x, n, terms), hidden(update.hidden, n, update.rank);
    const Factor down = of_floats(rows, low.down, low.down_width);
    const Factor whole[] = {{rows, [&](std::size_t row, std::size_t first, std::size_t last,
                                       float* to) { matrix.columns(row, first, last, to); }},
                            of_floats(hidden, low.up, low.up_width)};
    std::vector<Multiplier> multipliers;  // made here, for what waits at a barrier must not throw
    for (std::size_t i = 0; i < n_threads; ++i) multipliers.emplace_back(kernels, by_columns, n);
    Shares shares(n_threads);
    ThreadPool::instance().run(n_threads, [&](std::size_t thread, Barrier& barrier) {
        const Multiplier& multiplier = multipliers[thread];
        const std::size_t blocks = parts(n, kSplitTokens), most = multiplier.most_columns();
        const std::size_t first = blocks * thread / n_threads * kSplitTokens;
        const std::size_t last = blocks * (thread + 1) / n_threads * kSplitTokens, own = std::min(last, n) - first;
        for (std::size_t t = first; t < last; ++t) rows.split(kernels, t);
        for (std::size_t column = 0; column < update.rank; column += most)
            multiplier.multiply({&down, 1}, first, own, column, std::min(most, update.rank - column), update.hidden,
                                update.rank);
        for (std::size_t k = first * update.rank; k < (first + own) * update.rank; ++k)
            update.hidden[k] *= update.scale;
        for (std::size_t t = first; t < last; ++t) hidden.split(kernels, t);
        barrier.wait(n_threads);
        shares.each(thread, parts(columns, most), 1, [&](std::size_t block, std::size_t) {
            const std::size_t column = block * most;
            multiplier.multiply(whole, 0, n, column, std::min(most, columns - column), out, columns);
        });
    });
}

}  // namespace

void multiply_split(const Kernels& kernels, const Linear& matrix, const LowRankUpdate& update, const float* x,
                    std::size_t n, std::size_t n_threads, float* out) {
    const std::size_t in = matrix.in_features(), outs = matrix.out_features();
    multiply(kernels, matrix, true, {update.a, update.b, in, update.rank}, update, x, in, n, outs, n_threads, out);
}

void multiply_split_transposed(const Kernels& kernels, const Linear& matrix, const LowRankUpdate& update,
                               const float* g, std::size_t n, std::size_t n_threads, float* out) {
    const std::size_t in = matrix.in_features(), outs = matrix.out_features();
    multiply(kernels, matrix, false, {update.b, update.a, update.rank, in}, update, g, outs, n, in, n_threads, out);
}

}  // namespace sterna

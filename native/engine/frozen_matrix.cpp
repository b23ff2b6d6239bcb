#include "frozen_matrix.hpp"

#include <algorithm>

#include "buffer.hpp"
#include "shares.hpp"
#include "slot.hpp"
#include "thread_pool.hpp"

namespace sterna {
namespace {

// From so many tokens on it pays to repack a matrix for one product.
constexpr std::size_t kRepackedFrom = 64;

// A tile of the transposed product: rows and columns that are decoded, and the tokens whose sums stay in L2 meanwhile.
// Columns are whole blocks of every encoding. Rows of a tile begin an odd number of cache lines apart: the same columns
// of all of them would else share few sets of L1.
constexpr std::size_t kRows = 64, kColumns = 256, kTokens = 512, kStride = kColumns + 16;

}  // namespace

void FrozenMatrix::multiply(const float* x, std::size_t n, std::size_t n_threads, float* out) const {
    if (adapts(n)) return multiply_split(kernels_, *matrix_, {}, x, n, n_threads, out);
    Slot input("x", in_features());
    input.require(matrix_->form());
    const Buffer<std::byte> memory(input.place(nullptr, n));
    input.place(memory.get(), n);
    const std::unique_ptr<Linear> repacked = n >= kRepackedFrom ? matrix_->repacked() : nullptr;
    const Buffer<std::uint8_t> packed(repacked ? repacked->memory_bytes() : 0);
    ThreadPool& pool = ThreadPool::instance();
    pool.run(n_threads, [&](std::size_t thread, Barrier&) {
        if (repacked) repacked->fill(packed.get(), thread, n_threads, 0, 1);
        for (std::size_t t = n * thread / n_threads; t < n * (thread + 1) / n_threads; ++t) {
            std::copy_n(x + t * in_features(), in_features(), input.row(t));
            input.quantize(kernels_, t);
        }
    });
    if (repacked) repacked->settle(packed.get());
    const Linear& matrix = repacked ? *repacked : *matrix_;
    const Activations activations = input.activations(matrix.form(), n);
    const Division division = matrix.division(n, n_threads);
    Shares shares(n_threads);
    pool.run(n_threads, [&](std::size_t thread, Barrier&) {
        const Buffer<float> scratch(matrix.scratch());
        shares.each(thread, division.items, division.chunk, [&](std::size_t first, std::size_t last) {
            matrix.multiply(activations, division, first, last, scratch.get(), {out, out_features()});
        });
    });
}

void FrozenMatrix::multiply_transposed(const float* g, std::size_t n, std::size_t n_threads, float* out) const {
    if (transposes_ternary(tensor_)) return multiply_ternary_transposed(kernels_, tensor_, g, n, n_threads, out);
    if (adapts_transposed(n)) return multiply_split_transposed(kernels_, *matrix_, {}, g, n, n_threads, out);
    const std::size_t rows = out_features(), columns = in_features(), tokens = std::min(n, kTokens);
    Shares shares(n_threads);
    ThreadPool::instance().run(n_threads, [&](std::size_t thread, Barrier&) {
        const Buffer<float> tile(kRows * kStride), sums(tokens * kStride);
        shares.each(thread, parts(columns, kColumns), 1, [&](std::size_t block, std::size_t) {
            const std::size_t first = block * kColumns, last = std::min(first + kColumns, columns);
            for (std::size_t t = 0; t < n; t += tokens) {
                const std::size_t count = std::min(tokens, n - t);
                std::fill_n(sums.get(), count * kStride, 0.0f);
                for (std::size_t r = 0; r < rows; r += kRows) {
                    const std::size_t terms = std::min(kRows, rows - r);
                    for (std::size_t k = 0; k < terms; ++k)
                        matrix_->columns(r + k, first, last, tile.get() + k * kStride);
                    kernels_.add_products({g + t * rows + r, rows, tile.get(), kStride, sums.get(), kStride, count,
                                           terms, parts(last - first, 16) * 16});
                }
                for (std::size_t i = 0; i < count; ++i)
                    std::copy_n(sums.get() + i * kStride, last - first, out + (t + i) * columns + first);
            }
        });
    });
}

void FrozenMatrix::row(std::size_t row, float* out) const {
    const Buffer<float> decoded(padded(in_features()));
    matrix_->columns(row, 0, in_features(), decoded.get());
    std::copy_n(decoded.get(), in_features(), out);
}

}  // namespace sterna

#include "requantize.hpp"

#include <atomic>
#include <stdexcept>

#include "linear/int15.hpp"
#include "thread_pool.hpp"

namespace sterna {

void requantize(const Kernels& kernels, const Tensor& tensor, Encoding encoding, std::size_t n_threads,
                std::span<std::uint8_t> out) {
    const std::unique_ptr<Linear> matrix = make_linear(tensor, {}, kernels, "to requantise");
    const std::size_t rows = matrix->out_features(), cols = matrix->in_features(), stride = row_bytes(encoding, cols);
    if (!Int15::takes_encoding(encoding) || out.size() != rows * stride)
        throw std::invalid_argument("Matrices can be requantised to q4_0, q8_0 and q6_k.");
    std::atomic<bool> finite{true};
    ThreadPool::instance().run(n_threads, [&](std::size_t thread, Barrier&) {
        std::vector<float> row(padded(cols));
        for (std::size_t r = rows * thread / n_threads; r < rows * (thread + 1) / n_threads && finite; ++r) {
            matrix->row(r, row.data());
            if (!kernels.encode(encoding, row.data(), cols, out.data() + r * stride)) finite = false;
        }
    });
    if (!finite) throw std::invalid_argument("A matrix to requantise holds a value that is not finite.");
}

}  // namespace sterna

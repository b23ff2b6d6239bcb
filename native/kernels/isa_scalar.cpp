// The baseline: what every processor of the architecture runs, and what the others are compared with.
#include "int4_reference.hpp"
#include "isa_kernels.hpp"
#include "panel_reference.hpp"
#include "ternary_panels.hpp"

namespace sterna {
namespace {

void ternary_dot(const TernaryTask& task) {
    const auto& [rows, scale, x, n_tokens, cols, out] = task;
    for (std::size_t r = 0; r < rows.count; ++r)
        for (std::size_t t = 0; t < n_tokens; ++t) {
            const std::uint8_t* w = rows.data + r * rows.stride;
            const std::int8_t* a = x.codes + t * x.stride;
            std::int32_t total = 0;
            for (std::size_t k = 0; k < cols; k += 128, w += 32, a += 128)
                for (int b = 0; b < 32; ++b)
                    total += (w[b] >> 6) * a[b] + ((w[b] >> 4) & 3) * a[b + 32] + ((w[b] >> 2) & 3) * a[b + 64] +
                             (w[b] & 3) * a[b + 96];
            out.data[t * out.stride + r] = static_cast<float>(total - x.sums[t]) * (scale / x.scales[t]);
        }
}

void ternary_panel_dot(const TernaryPanelTask& task) {
    const auto& x = task.x;
    for (std::size_t r = 0; r < task.rows; ++r)
        for (std::size_t t = 0; t < task.n_tokens; ++t) {
            const std::uint8_t* w =
                task.panels + r / kTernaryRows * kTernaryRows * task.cols / 4 + r % kTernaryRows * 4;
            const std::int8_t* a = x.codes + t * x.stride;
            std::int32_t total = 0;
            for (std::size_t k = 0; k < task.cols; k += kLineColumns, w += kTernaryLine, a += kLineColumns)
                for (int column = 0; column < 16; ++column)
                    total += (w[column % 4] >> (6 - column / 4 * 2) & 3) * a[column];
            task.out.data[t * task.out.stride + r] = static_cast<float>(total - x.sums[t]) * (task.scale / x.scales[t]);
        }
}

std::uint64_t multiply_add(std::size_t rounds) {
    typedef std::uint16_t Products __attribute__((vector_size(16)));
    Products sums[8] = {}, a = {1, 2, 3, 4, 5, 6, 7, 8};
    for (std::size_t round = 0; round < rounds; ++round)
        for (Products& sum : sums) {
            opaque(a);
            sum += a * a;
        }
    for (auto& sum : sums) opaque(sum);
    return rounds * 8 * 8;
}

}  // namespace

extern const Kernels kScalarKernels =
    make_kernels("scalar", ternary_dot, ternary_panel_dot, nullptr, nullptr, int15_dot<Int15Reference>, panel_reference,
                 int4_reference, multiply_add);

}  // namespace sterna

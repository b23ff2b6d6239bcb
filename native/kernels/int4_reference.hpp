// The definition of int4_dot (int4_panels.hpp), number by number: what scalar processors run, and what the other
// kernels are compared with.
#pragma once

#include "int4_panels.hpp"

namespace sterna {
namespace {

void int4_reference(const Int4Task& task) {
    const std::size_t groups = task.cols / task.group, bytes = int4_group_bytes(task.group);
    for (std::size_t row = 0; row < task.rows; ++row) {
        const std::size_t r = row % kInt4Rows;
        const std::uint8_t* panel = task.panels + row / kInt4Rows * groups * bytes;
        for (std::size_t t = 0; t < task.n_tokens; ++t) {
            float product = 0.0f;
            for (std::size_t g = 0; g < groups; ++g) {
                std::uint16_t d, z;
                std::memcpy(&d, panel + g * bytes + 2 * r, 2);
                std::memcpy(&z, panel + g * bytes + 2 * kInt4Rows + 2 * r, 2);
                float n = 0.0f;
                for (std::size_t half = 0; half < task.halves; ++half) {
                    const std::int8_t* x = task.x[half].codes + t * task.stride + g * task.group;
                    std::int32_t sum = 0;
                    for (std::size_t k = 0; k < task.group; ++k) {
                        const std::size_t line = k / kInt4LineColumns, column = k % kInt4LineColumns;
                        const int byte = panel[g * bytes + kInt4Line * (line + 1) + 4 * r + column % 4];
                        sum += (column < 4 ? byte & 15 : byte >> 4) * x[k];
                    }
                    const float of_half =
                        __builtin_fmaf(-half_to_float(z), task.x[half].sums[t * groups + g], static_cast<float>(sum));
                    n = half == 0 ? of_half : __builtin_fmaf(128.0f, n, of_half);
                }
                product = __builtin_fmaf(n, half_to_float(d) * task.factors[t * groups + g], product);
            }
            task.out.data[t * task.out.stride + row] = product;
        }
    }
}

}  // namespace
}  // namespace sterna

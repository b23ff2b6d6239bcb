// Compares the kernels of one ISA on random rows: the ternary kernels with a plain loop, the others with scalar's.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/dispatch.hpp"

namespace sterna {

// Multiplies at least n_rows random rows of varied lengths, with varied numbers of tokens, strides and extreme values.
// The rows are ternary or, with `int15`, rows of Q4_0, Q8_0 and Q6_K. Returns how many rows it multiplied. Throws
// std::runtime_error where an output differs by a bit, or where anything but the outputs was written.
std::size_t compare_random_rows(const Kernels& kernels, bool int15, std::size_t n_rows, std::uint32_t seed);

}  // namespace sterna

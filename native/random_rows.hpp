// Random rows through the kernels of one ISA: the ternary ones against a plain loop, the others against scalar's.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/dispatch.hpp"

namespace sterna {

// Multiplies at least n_rows random rows, ternary ones or, with `int15`, those of Q4_0, Q8_0 and Q6_K, of varied
// lengths, with varied numbers of tokens, strides and extremes. Gives how many; throws std::runtime_error where an
// output differs by a bit, or where anything else was written.
std::size_t compare_random_rows(const Kernels& kernels, bool int15, std::size_t n_rows, std::uint32_t seed);

}  // namespace sterna

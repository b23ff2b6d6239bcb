// The ceilings of this machine, with which speeds are compared.
#pragma once

#include <cstddef>

#include "../kernels/kernels.hpp"

namespace sterna {

// Bytes a second that `n_threads` threads read together from a buffer of `bytes` bytes.
double read_bandwidth(const Kernels& kernels, std::size_t bytes, std::size_t n_threads);

// int8 multiply-adds a second that `n_threads` threads do together, on registers.
double multiply_add_rate(const Kernels& kernels, std::size_t n_threads);

}  // namespace sterna

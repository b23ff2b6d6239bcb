// The ceilings of this machine, with which speeds are compared.
#pragma once

#include <cstddef>

#include "../kernels/kernels.hpp"

namespace sterna {

// Bytes a second that `n_threads` threads read together from a buffer of `bytes` bytes.
double read_bandwidth(const Kernels& kernels, std::size_t bytes, std::size_t n_threads);

// int8 multiply-adds a second that `n_threads` threads do together, on registers.
double multiply_add_rate(const Kernels& kernels, std::size_t n_threads);

// Nanoseconds that a cache line takes from one thread to another: half of a round trip of a flag that two threads set
// in turn, the median of a few measurements. Where two threads share a processor it is the time of a change of threads.
double line_latency();

}  // namespace sterna

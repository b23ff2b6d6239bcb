// Lookup tables or multiply-adds: where both compute ternary panels, which is faster depends on the processor.
#pragma once

#include "../../kernels/kernels.hpp"

namespace sterna {

// Whether lookup tables multiply ternary panels with many tokens faster than the kernel that multiplies codes. The
// first call with a set of kernels tries both on a small matrix, which takes some milliseconds; the process keeps the
// answer. STERNA_TABLES=0 or 1 in the environment answers instead. Results are the same bits either way.
bool lookup_wins(const Kernels& kernels);

}  // namespace sterna

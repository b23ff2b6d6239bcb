// Brings matrices into memory of their own, from which a processor reads faster than from a mapped file.
#pragma once

#include <vector>

#include "huge_pages.hpp"
#include "linear/linear.hpp"

namespace sterna {

// Repacks the matrices whose route does so and, unless `in_place`, copies those whose bytes lie in a mapped file. They
// are read from the returned memory afterwards, which is one block: most matrices fill no huge pages by themselves.
// Matrices are loaded one after the other by all threads, and pages of the file are dropped as soon as a matrix is
// there, so that no more than a few matrices are in memory twice. Throws std::bad_alloc.
HugePages load(const std::vector<Linear*>& matrices, bool in_place, std::size_t n_threads);

}  // namespace sterna

// Chooses the kernels for this processor.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "kernels.hpp"

namespace sterna {

// Sets of kernels that this build holds and this processor can run: the first is the default, scalar is always last.
std::span<const Kernels* const> available_kernels();

// The kernels named `isa` ("" takes the best). Throws std::invalid_argument where `isa` is unknown or cannot run here.
const Kernels& kernels_for(const std::string& isa);

// Bytes ahead of what is multiplied at which a stream of ternary panels is fetched to L2 (an eighth of them ahead, to
// L1), 0 to leave it to the processor: on Zen 4 its own prefetchers are faster, Intel's need help
// (docs/experiments.md).
std::size_t fetch_distance();

// Whether every kernel gives scalar's answer, to the bit, on fixed pseudo-random inputs.
bool known_answers_hold(const Kernels& kernels);

}  // namespace sterna

// The rows that a forward pass works in: one row of floats a token for every slot of the plan.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "linear/linear.hpp"

namespace sterna {

// A slot's rows in the form that some matrix takes.
class QuantizedCopy {
public:
    QuantizedCopy(const ActivationForm& form, std::size_t width, std::size_t stride);

    const ActivationForm& form() const { return form_; }
    // Lays its arrays out in memory, each from a cache line on, and returns the bytes that they take; null only
    // measures.
    std::size_t place(std::byte* memory, std::size_t tokens);
    void quantize(const Kernels& kernels, const float* values, std::size_t token);
    void view(Activations& activations) const;  // adds itself

private:
    ActivationForm form_;
    std::size_t stride_, group_, groups_;
    std::int8_t* codes_ = nullptr;
    float* scales_ = nullptr;
    std::int32_t* sums_ = nullptr;
    Int15Row int15_ = {};
};

// Rows of one named value. The padding between width and stride stays zero for ever, so kernels need no tails.
struct Slot {
    Slot(std::string name, std::size_t width);

    std::string name;
    std::size_t width, stride;
    std::vector<QuantizedCopy> copies;  // which follow every write
    float* values = nullptr;

    void require(const ActivationForm& form);
    // Lays everything out in zeroed memory, and returns the bytes that it takes; null only measures.
    std::size_t place(std::byte* memory, std::size_t tokens);
    void quantize(const Kernels& kernels, std::size_t token);
    float* row(std::size_t token) const { return values + token * stride; }
    Activations activations(const ActivationForm& form, std::size_t n_tokens) const;
};

// Where things lie in one memory, and how large it is.
struct Layout {
    std::vector<std::size_t> offsets;
    std::size_t bytes = 0;
};

// Places for things of these sizes, in multiples of a cache line. `in_use[i][phase]`: those that are in use in the same
// phase do not overlap. The largest come first, each as low as it can lie.
Layout lay_out(const std::vector<std::size_t>& sizes, const std::vector<std::vector<bool>>& in_use);

}  // namespace sterna

// The buffers of a forward pass: every slot of the plan has one row of floats for each token.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "linear/linear.hpp"

namespace sterna {

// A slot's rows, quantised to the form that a matrix takes.
class QuantizedCopy {
public:
    QuantizedCopy(const ActivationForm& form, std::size_t width);

    const ActivationForm& form() const { return form_; }
    // Places the arrays in memory, each at the start of a cache line, and returns the bytes that they take. With a null
    // pointer it only counts bytes.
    std::size_t place(std::byte* memory, std::size_t tokens);
    void quantize(const Kernels& kernels, const float* values, std::size_t token);
    Int8Rows rows(std::size_t token, std::size_t column) const;  // of int8 in groups, from there on
    void view(Activations& activations) const;                   // adds this copy to `activations`

private:
    ActivationForm form_;
    std::size_t columns_, stride_, group_, groups_;
    std::int8_t* codes_ = nullptr;
    float* scales_ = nullptr;
    std::int32_t* sums_ = nullptr;
    Int15Row int15_ = {};
};

// Rows of one named value. The padding between width and stride is always zero, so kernels need no tail loops.
struct Slot {
    Slot(std::string name, std::size_t width);

    std::string name;
    std::size_t width, stride;
    std::vector<QuantizedCopy> copies;  // updated after every write
    float* values = nullptr;

    void require(const ActivationForm& form);
    // Places all arrays in zeroed memory and returns the bytes that they take. With a null pointer it only counts
    // bytes.
    std::size_t place(std::byte* memory, std::size_t tokens);
    void quantize(const Kernels& kernels, std::size_t token);
    // The one copy, if there is no other and groups of so many columns can be quantised one by one, else null.
    const QuantizedCopy* in_groups(std::size_t columns) const;
    float* row(std::size_t token) const { return values + token * stride; }
    Activations activations(const ActivationForm& form, std::size_t n_tokens) const;
};

// The offsets of buffers in one piece of memory, and its size.
struct Layout {
    std::vector<std::size_t> offsets;
    std::size_t bytes = 0;
};

// Places buffers of these sizes, which are multiples of a cache line. Buffers that are in use in the same phase,
// in_use[i][phase], do not overlap. The largest are placed first, each at the lowest free offset.
Layout lay_out(const std::vector<std::size_t>& sizes, const std::vector<std::vector<bool>>& in_use);

}  // namespace sterna

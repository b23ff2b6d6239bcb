// The steps that a plan compiles to. Their work is made of items, which threads share (shares.hpp); what is computed
// for a token (or a row of a token) never depends on that division.
#pragma once

#include <memory>
#include <vector>

#include "run.hpp"

namespace sterna {

// What the items of a step are: tokens (whoever takes some does all such steps that follow each other, without a
// barrier), rows of a matrix, or heads.
enum class Grain : std::uint8_t { tokens, rows, heads };

class Step {
public:
    virtual ~Step() = default;
    virtual std::size_t items(const Run& run) const = 0;       // independent pieces of work
    virtual std::size_t chunk(const Run&) const { return 1; }  // how many to take at a time
    virtual void run(Run& run, std::size_t thread, std::size_t first, std::size_t last) const = 0;
    virtual std::size_t scratch(const Kernels&) const { return 0; }  // floats a thread needs
    virtual std::size_t multiply_adds() const { return 0; }          // of matrices, a token

    Grain grain = Grain::tokens;
    std::vector<std::size_t> reads, writes;  // slots
};

}  // namespace sterna

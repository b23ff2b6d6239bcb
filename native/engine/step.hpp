// The steps that a plan is compiled to. A step's work consists of items, which threads share (shares.hpp). What is
// computed for a token (or a row of a token) never depends on how items are shared.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "run.hpp"

namespace sterna {

// What the items of a step are: tokens (a thread runs all consecutive steps of this kind for the tokens that it takes,
// without a barrier), rows of a matrix or parts of tokens, or attention heads.
enum class Grain : std::uint8_t { tokens, rows, heads };

class Step {
public:
    virtual ~Step() = default;
    virtual std::unique_ptr<Linear>* matrix() { return nullptr; }  // that the step multiplies or takes rows of
    virtual bool multiplies() const { return false; }              // by that matrix
    virtual std::size_t items(const Run& run) const = 0;           // independent pieces of work
    virtual std::size_t chunk(const Run&) const { return 1; }      // items that a thread takes at a time
    virtual void run(Run& run, std::size_t thread, std::size_t first, std::size_t last) const = 0;
    virtual std::size_t scratch(const Kernels&) const { return 0; }  // floats that each thread needs
    virtual std::size_t multiply_adds() const { return 0; }          // of matrices, for each token
    virtual std::size_t bytes() const { return 0; }                  // of matrices, as they are read

    Grain grain = Grain::tokens;
    std::vector<std::size_t> reads, writes;  // slots
    std::string part;                        // of a pass, for a Profile
};

}  // namespace sterna

// A plan as it comes from Python (src/sterna/model/plan.py): named slots, and operations on them as data.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "../kernels/formats.hpp"

namespace sterna {

// The form of a matrix's input: float32 (`none`), or quantised with one scale for every `group_size` columns (0: one
// scale per token).
struct ActivationForm {
    Quantizer quantizer = Quantizer::none;
    std::size_t group_size = 0;
    bool operator==(const ActivationForm&) const = default;
};

struct Operation {
    std::string kind;
    std::map<std::string, std::string> names;
    std::map<std::string, double> numbers;

    // These throw std::invalid_argument, naming the operation, where the argument is missing or out of range.
    const std::string& name(const std::string& key) const;
    double number(const std::string& key) const;
    std::size_t size(const std::string& key, std::size_t limit) const;  // a whole number in [0, limit]
    ActivationForm activations() const;
};

// Layers whose keys and values have the same shape and window. A token sees `window` positions, its own among them;
// 0: all.
struct CacheGroup {
    std::string name;
    std::size_t layers = 0, kv_heads = 0, head_dim = 0, window = 0;
};

// Layers whose states have the same shape: `key_heads` heads of `key_dim` values for q and for k, `value_heads` heads
// of `value_dim` values, and a convolution over `conv_width` positions.
struct StateGroup {
    static constexpr std::size_t kMaxConvWidth = 8;
    std::string name;
    std::size_t layers = 0, key_heads = 0, value_heads = 0, key_dim = 0, value_dim = 0, conv_width = 0;
    bool operator==(const StateGroup&) const = default;
};

struct Plan {
    std::size_t vocab_size = 0;
    Operation head;                            // weight, activations, group_size of the output matrix
    std::string output;                        // slot that holds the hidden rows
    std::map<std::string, std::size_t> slots;  // name -> width
    std::vector<CacheGroup> caches;
    std::vector<StateGroup> states;
    std::map<std::string, std::vector<double>> frequencies;  // rotary, radians a position
    std::map<std::string, std::vector<double>> signs;        // 1 or -1 for each column
    std::vector<Operation> operations;
};

}  // namespace sterna

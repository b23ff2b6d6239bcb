// A plan as it comes from Python: named slots, and operations on them as data.
#pragma once

#include <map>
#include <string>
#include <vector>

namespace sterna {

struct Operation {
    std::string kind;
    std::map<std::string, std::string> names;
    std::map<std::string, double> numbers;

    // Throw std::invalid_argument, naming the operation, where the argument is missing or out of range.
    const std::string& name(const std::string& key) const;
    double number(const std::string& key) const;
    std::size_t size(const std::string& key, std::size_t limit) const;  // a whole number in [0, limit]
};

struct Plan {
    std::map<std::string, std::size_t> slots;           // name -> width
    std::map<std::string, std::vector<double>> tables;  // rotary frequencies, by name
    std::vector<Operation> operations;
    std::string output;  // slot that holds the hidden rows
    std::string head;    // tensor of the output matrix
    std::size_t layers = 0, kv_heads = 0, head_dim = 0, vocab_size = 0;
};

}  // namespace sterna

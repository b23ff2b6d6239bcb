// Repacks ternary and binary blocks of other layouts to rows of I2_S, at load.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace sterna {

// Whether packed I2_S codes hold the code 3, which has no meaning.
bool i2s_has_code_3(std::span<const std::uint8_t> codes);

// A layout whose blocks hold fields (weight + 1) of a row and one float16 scale.
struct TernaryBlocks {
    const char* name;
    std::size_t block, bytes;                                         // weights and bytes of a block
    std::size_t scale;                                                // where its scale lies
    void (*fields)(const std::uint8_t* block, std::uint8_t* fields);  // one field a byte
};

// Throws std::invalid_argument for the name of another encoding.
const TernaryBlocks& ternary_blocks(const std::string& encoding);

struct Repacked {
    std::vector<float> scales;  // one if all blocks share it, where blocks of zeros do not count; else one a block
    bool has_code_3;            // the weight +2 of Q2_0, which I2_S cannot hold: the codes are useless
};

// Writes each row of `columns` weights as I2_S, padded with zeros to whole blocks of 128 columns; `codes` has room for
// that. Blocks whose scale is 0 get the code 0 throughout. The field 3 of TQ2_0, which has no meaning, becomes the
// code 0. Throws std::invalid_argument where `blocks` is no whole number of rows.
Repacked to_i2s(const TernaryBlocks& layout, std::span<const std::uint8_t> blocks, std::size_t columns,
                std::uint8_t* codes);

}  // namespace sterna

// Repacks ternary blocks of other layouts to I2_S, at load.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace sterna {

// Whether packed I2_S codes hold the code 3, which has no meaning.
bool i2s_has_code_3(std::span<const std::uint8_t> codes);

inline constexpr std::size_t kTqBlock = 256;  // weights that share a scale in TQ1_0 and TQ2_0

// Bytes of one block of "tq1_0" or "tq2_0"; throws std::invalid_argument for another name.
std::size_t tq_block_bytes(const std::string& encoding);

// Writes the codes of all blocks as I2_S (64 bytes a block) and returns their scales: a single one if all blocks share
// it, where blocks of zeros do not count; else one for each block. Blocks whose scale is 0 get the code 0 throughout.
// The code 3 of TQ2_0, which has no meaning, becomes 0.
std::vector<float> tq_to_i2s(const std::string& encoding, std::span<const std::uint8_t> blocks, std::uint8_t* codes);

}  // namespace sterna

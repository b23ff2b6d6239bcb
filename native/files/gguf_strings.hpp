// The strings of a GGUF header: each is its length in eight bytes (little-endian), then its bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace sterna {

// The string at `position`; moves `position` past the string. Throws std::invalid_argument, with the reason, where the
// string does not fit the file.
std::span<const std::uint8_t> next_gguf_string(std::span<const std::uint8_t> file, std::size_t& position);

// The positions at which strings 0, stride, 2 * stride ... of the next `count` strings begin; moves `position` past the
// last string. Throws as next_gguf_string does, and for a stride of 0.
std::vector<std::uint64_t> gguf_string_starts(std::span<const std::uint8_t> file, std::size_t& position,
                                              std::size_t count, std::size_t stride);

}  // namespace sterna

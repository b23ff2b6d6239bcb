// Codes in base 3, as TQ1_0 and PTQ1_0 keep them (src/sterna/ternary/tq.py).
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace sterna {
namespace {

// Each of `Size` bytes holds `Digits` codes, as a fraction of 256: multiplying by 3 moves the next one above bit 7.
// Writes the first codes of all bytes, then the second ones, ...; returns the place after the last.
template <std::size_t Size, std::size_t Digits>
inline std::uint8_t* take_digits(const std::uint8_t* q, std::uint8_t* codes) {
    std::uint8_t rest[Size];
    std::memcpy(rest, q, Size);
    for (std::size_t digit = 0; digit < Digits; ++digit, codes += Size)
        for (std::size_t b = 0; b < Size; ++b) {
            const auto shifted = static_cast<std::uint16_t>(rest[b] * 3);
            codes[b] = static_cast<std::uint8_t>(shifted >> 8);
            rest[b] = static_cast<std::uint8_t>(shifted);
        }
    return codes;
}

}  // namespace
}  // namespace sterna

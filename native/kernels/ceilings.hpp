// Loops that measure the machine's ceilings. `opaque` makes a value unknown to the compiler in every round, so that the
// compiler can neither hoist the work out of the loop nor drop it.
#pragma once

#include "kernels.hpp"
#include "lanes.hpp"

namespace sterna {
namespace {

typedef std::uint32_t UnsignedVec __attribute__((vector_size(kWidth * 4)));

template <class T>
inline void opaque(T& value) {
#if defined(__aarch64__)
    asm volatile("" : "+w"(value));
#else
    asm volatile("" : "+v"(value));
#endif
}

std::uint64_t read_all(const std::uint8_t* data, std::size_t n) {
    constexpr std::size_t kStreams = 8;  // independent sums, so that loads, not additions, are the limit
    UnsignedVec sums[kStreams] = {};
    for (std::size_t k = 0; k < n; k += kStreams * sizeof(UnsignedVec)) {
        for (std::size_t line = 0; line < kStreams * sizeof(UnsignedVec); line += 64)
            __builtin_prefetch(data + k + 4096 + line);
        for (std::size_t i = 0; i < kStreams; ++i) {
            UnsignedVec part;
            std::memcpy(&part, data + k + i * sizeof(UnsignedVec), sizeof(part));
            sums[i] += part;
        }
    }
    std::uint64_t total = 0;
    for (std::size_t i = 0; i < kStreams; ++i)
        for (int j = 0; j < kWidth; ++j) total += sums[i][j];
    return total;
}

}  // namespace
}  // namespace sterna

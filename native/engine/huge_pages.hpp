// Memory that is read a little everywhere, or faster than addresses are looked up, lies best in pages of 2 MiB.
#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <cstdint>

namespace sterna {

inline constexpr std::size_t kHugePage = std::size_t{1} << 21;

// Asks for huge pages where memory, not yet touched, covers some. A system that has none, or refuses, is only slower.
inline void prefer_huge_pages([[maybe_unused]] void* memory, [[maybe_unused]] std::size_t bytes) {
#if defined(MADV_HUGEPAGE)
    const auto address = reinterpret_cast<std::uintptr_t>(memory);
    const std::uintptr_t begin = (address + kHugePage - 1) / kHugePage * kHugePage;
    const std::uintptr_t end = (address + bytes) / kHugePage * kHugePage;
    if (begin < end) madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);
#endif
}

}  // namespace sterna

#include <windows.h>

#include <algorithm>
#include <new>

#include "memory.hpp"

namespace sterna {

// Huge pages need a privilege that ordinary users lack.
Pages::Pages(std::size_t bytes, Size) : bytes_(bytes) {
    if (bytes == 0) return;
    data_ = static_cast<std::uint8_t*>(VirtualAlloc(nullptr, bytes, MEM_RESERVE, PAGE_READWRITE));
    if (data_ == nullptr) throw std::bad_alloc();
}

Pages::~Pages() {
    if (data_ != nullptr) VirtualFree(data_, 0, MEM_RELEASE);
}

void Pages::commit(std::size_t bytes) {
    constexpr std::size_t kStep = 16 << 20;  // few calls, and little that is committed and not used
    const std::size_t end = std::min((bytes + kStep - 1) / kStep * kStep, bytes_);
    if (VirtualAlloc(data_ + provided_, end - provided_, MEM_COMMIT, PAGE_READWRITE) == nullptr) throw std::bad_alloc();
    provided_ = end;
}

const std::uint8_t* drop_pages(const std::uint8_t* begin, const std::uint8_t* end) {
    SYSTEM_INFO system;
    GetSystemInfo(&system);
    const std::uintptr_t page = system.dwPageSize;
    const std::uintptr_t first = (reinterpret_cast<std::uintptr_t>(begin) + page - 1) / page * page;
    const std::uintptr_t last = reinterpret_cast<std::uintptr_t>(end) / page * page;
    if (first >= last) return begin;
    VirtualUnlock(reinterpret_cast<void*>(first), last - first);  // pages that are not locked leave the working set
    return reinterpret_cast<const std::uint8_t*>(last);
}

}  // namespace sterna

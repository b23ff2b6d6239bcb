#include <sys/mman.h>
#include <unistd.h>

#include <new>

#include "memory.hpp"

namespace sterna {

Pages::Pages(std::size_t bytes, Size size) : bytes_(bytes) {
    if (bytes == 0) return;
    void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) throw std::bad_alloc();
    data_ = static_cast<std::uint8_t*>(memory);
    provided_ = bytes;
#if defined(MADV_HUGEPAGE)
    if (size == Size::kHuge) madvise(memory, bytes, MADV_HUGEPAGE);
#else
    static_cast<void>(size);
#endif
}

Pages::~Pages() {
    if (data_ != nullptr) munmap(data_, bytes_);
}

void Pages::commit(std::size_t) {}  // never called: all is provided

const std::uint8_t* drop_pages(const std::uint8_t* begin, const std::uint8_t* end) {
    const auto page = static_cast<std::uintptr_t>(sysconf(_SC_PAGESIZE));
    const std::uintptr_t first = (reinterpret_cast<std::uintptr_t>(begin) + page - 1) / page * page;
    const std::uintptr_t last = reinterpret_cast<std::uintptr_t>(end) / page * page;
    if (first >= last) return begin;
    madvise(reinterpret_cast<void*>(first), last - first, MADV_DONTNEED);
    return reinterpret_cast<const std::uint8_t*>(last);
}

}  // namespace sterna

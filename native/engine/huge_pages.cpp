#include "huge_pages.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <new>

namespace sterna {

HugePages::HugePages(std::size_t bytes) : bytes_(bytes) {
    if (bytes == 0) return;
    void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) throw std::bad_alloc();
    data_ = static_cast<std::uint8_t*>(memory);
#if defined(MADV_HUGEPAGE)
    madvise(memory, bytes, MADV_HUGEPAGE);
#endif
}

HugePages::~HugePages() {
    if (data_ != nullptr) munmap(data_, bytes_);
}

void drop_pages(std::span<const std::uint8_t> bytes) {
    const auto page = static_cast<std::uintptr_t>(sysconf(_SC_PAGESIZE));
    const auto begin = reinterpret_cast<std::uintptr_t>(bytes.data());
    const std::uintptr_t first = (begin + page - 1) / page * page, last = (begin + bytes.size()) / page * page;
    if (first >= last) return;
    auto* const memory = reinterpret_cast<void*>(first);
#if defined(MADV_NOHUGEPAGE)
    madvise(memory, last - first, MADV_NOHUGEPAGE);
#endif
    madvise(memory, last - first, MADV_DONTNEED);
}

}  // namespace sterna

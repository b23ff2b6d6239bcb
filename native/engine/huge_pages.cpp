#include "huge_pages.hpp"

#include <sys/mman.h>

#include <new>

namespace sterna {

HugePages::HugePages(std::size_t bytes) : bytes_(bytes) {
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

}  // namespace sterna

// Memory that comes from the operating system in pages.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>

namespace sterna {

// Reserved address space for a large array, zeroed. Before a part of it is used, `provide` must have been called for
// it: Windows commits memory then. Linux and macOS commit a page when it is first written.
class Pages {
public:
    // Where the system has huge pages, arrays that are read from end to end are faster in them: fewer TLB misses.
    enum class Size { kSmall, kHuge };

    Pages() = default;
    Pages(std::size_t bytes, Size size);  // throws std::bad_alloc; 0 bytes take nothing
    Pages(Pages&& other) noexcept
        : data_(std::exchange(other.data_, nullptr)),
          bytes_(std::exchange(other.bytes_, 0)),
          provided_(std::exchange(other.provided_, 0)) {}
    Pages& operator=(Pages&& other) noexcept {
        std::swap(data_, other.data_);
        std::swap(bytes_, other.bytes_);
        std::swap(provided_, other.provided_);
        return *this;
    }
    ~Pages();
    std::uint8_t* get() const { return data_; }
    // Makes the first `bytes` bytes usable. Throws std::bad_alloc.
    void provide(std::size_t bytes) {
        if (bytes > provided_) commit(bytes);
    }

private:
    void commit(std::size_t bytes);

    std::uint8_t* data_ = nullptr;
    std::size_t bytes_ = 0, provided_ = 0;
};

// Drops the pages that lie wholly between `begin` and `end` from this process; returns where the first one begins that
// is kept. The memory must be a mapping of a file that is only read: its pages come back when they are touched. Other
// memory would be lost.
const std::uint8_t* drop_pages(const std::uint8_t* begin, const std::uint8_t* end);

}  // namespace sterna

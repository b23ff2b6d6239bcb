// Memory for large arrays that are read from end to end: zeroed, and on huge pages where the system gives them, which
// raises the bandwidth of reading.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>

namespace sterna {

class HugePages {
public:
    HugePages() = default;
    explicit HugePages(std::size_t bytes);  // throws std::bad_alloc; 0 bytes take nothing
    HugePages(HugePages&& other) noexcept
        : data_(std::exchange(other.data_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}
    HugePages& operator=(HugePages&& other) noexcept {
        std::swap(data_, other.data_);
        std::swap(bytes_, other.bytes_);
        return *this;
    }
    ~HugePages();
    std::uint8_t* get() const { return data_; }

private:
    std::uint8_t* data_ = nullptr;
    std::size_t bytes_ = 0;
};

// Drops the pages that lie wholly between `begin` and `end` from this process; returns where the first one begins that
// is kept. The memory must be a mapping of a file that is only read: its pages come back when they are touched. Other
// memory would be lost.
const std::uint8_t* drop_pages(const std::uint8_t* begin, const std::uint8_t* end);

}  // namespace sterna

// Memory that is zeroed, cache-line aligned, and not copyable.
#pragma once

#include <cstddef>
#include <new>
#include <utility>

namespace sterna {

template <class T>
class Buffer {
public:
    Buffer() = default;
    explicit Buffer(std::size_t n) : data_(new (std::align_val_t{64}) T[n]()) {}
    Buffer(Buffer&& other) noexcept : data_(std::exchange(other.data_, nullptr)) {}
    Buffer& operator=(Buffer&& other) noexcept {
        std::swap(data_, other.data_);
        return *this;
    }
    ~Buffer() { ::operator delete[](data_, std::align_val_t{64}); }
    T* get() const { return data_; }

private:
    T* data_ = nullptr;
};

}  // namespace sterna

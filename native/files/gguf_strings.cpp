#include "gguf_strings.hpp"

#include <cstring>
#include <stdexcept>

namespace sterna {

std::span<const std::uint8_t> next_gguf_string(std::span<const std::uint8_t> file, std::size_t& position) {
    std::uint64_t size = 0;
    if (position > file.size() || file.size() - position < sizeof size)
        throw std::invalid_argument("its header ends early");
    std::memcpy(&size, file.data() + position, sizeof size);
    position += sizeof size;
    if (size > file.size() - position) throw std::invalid_argument("a string in it reaches past the end of the file");
    position += size;
    return file.subspan(position - size, size);
}

std::vector<std::uint64_t> gguf_string_starts(std::span<const std::uint8_t> file, std::size_t& position,
                                              std::size_t count, std::size_t stride) {
    if (stride == 0) throw std::invalid_argument("a stride must not be 0");
    std::vector<std::uint64_t> starts;
    for (std::size_t i = 0; i < count; ++i) {
        if (i % stride == 0) starts.push_back(position);
        next_gguf_string(file, position);
    }
    return starts;
}

}  // namespace sterna

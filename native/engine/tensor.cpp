#include "tensor.hpp"

#include <stdexcept>

#include "../kernels/dispatch.hpp"

namespace sterna {
Encoding encoding_named(const std::string& name) {
    for (const Format& format : kFormats)
        if (name == format.name) return format.encoding;
    throw std::invalid_argument("The engine does not know the encoding '" + name + "'.");
}

std::size_t row_bytes(Encoding encoding, std::size_t n) {
    const Format& format = format_of(encoding);
    if (encoding == Encoding::i2_s) n = padded(n);
    if (n % format.values != 0)
        throw std::invalid_argument("Rows of " + std::to_string(n) + " values cannot be stored as " + format.name +
                                    ", whose blocks hold " + std::to_string(format.values) + ".");
    return n / format.values * format.bytes;
}

std::vector<float> padded_vector(const Tensor& tensor, std::size_t n, const std::string& name) {
    if (tensor.shape != std::vector{n} || tensor.bytes.size() != row_bytes(tensor.encoding, n))
        throw std::invalid_argument("The tensor '" + name + "' must be a vector of " + std::to_string(n) + " values.");
    std::vector<float> values(padded(n), 0.0f);
    kernels_for("scalar").decode(tensor.encoding, tensor.bytes.data(), n, values.data());
    return values;
}

}  // namespace sterna

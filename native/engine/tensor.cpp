#include "tensor.hpp"

#include <stdexcept>

#include "../kernels/dispatch.hpp"

namespace sterna {
namespace {

struct BlockLayout {
    const char* name;
    Encoding encoding;
    std::size_t values, bytes;
};

constexpr BlockLayout kLayouts[] = {
    {"f32", Encoding::f32, 1, 4},       {"f16", Encoding::f16, 1, 2},       {"bf16", Encoding::bf16, 1, 2},
    {"q4_0", Encoding::q4_0, 32, 18},   {"q4_1", Encoding::q4_1, 32, 20},   {"q5_0", Encoding::q5_0, 32, 22},
    {"q5_1", Encoding::q5_1, 32, 24},   {"q8_0", Encoding::q8_0, 32, 34},   {"q2_k", Encoding::q2_k, 256, 84},
    {"q3_k", Encoding::q3_k, 256, 110}, {"q4_k", Encoding::q4_k, 256, 144}, {"q5_k", Encoding::q5_k, 256, 176},
    {"q6_k", Encoding::q6_k, 256, 210}, {"i2_s", Encoding::i2_s, 128, 32},
};

const BlockLayout& layout_of(Encoding encoding) {
    return kLayouts[static_cast<std::size_t>(encoding)];
}

}  // namespace

Encoding encoding_named(const std::string& name) {
    for (const BlockLayout& layout : kLayouts)
        if (name == layout.name) return layout.encoding;
    throw std::invalid_argument("The engine does not know the encoding '" + name + "'.");
}

std::size_t row_bytes(Encoding encoding, std::size_t n) {
    const BlockLayout& layout = layout_of(encoding);
    if (encoding == Encoding::i2_s) n = padded(n);
    if (n % layout.values != 0)
        throw std::invalid_argument("Rows of " + std::to_string(n) + " values cannot be stored as " + layout.name +
                                    ", whose blocks hold " + std::to_string(layout.values) + ".");
    return n / layout.values * layout.bytes;
}

std::vector<float> padded_vector(const Tensor& tensor, std::size_t n, const std::string& name) {
    if (tensor.shape != std::vector{n} || tensor.bytes.size() != row_bytes(tensor.encoding, n))
        throw std::invalid_argument("The tensor '" + name + "' must be a vector of " + std::to_string(n) + " values.");
    std::vector<float> values(padded(n), 0.0f);
    kernels_for("scalar").decode(tensor.encoding, tensor.bytes.data(), n, values.data());
    return values;
}

}  // namespace sterna

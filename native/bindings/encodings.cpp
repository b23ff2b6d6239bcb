// Encodings of matrices, and the strings of GGUF headers.
#include <algorithm>
#include <stdexcept>

#include "../engine/repack.hpp"
#include "../engine/requantize.hpp"
#include "../files/gguf_strings.hpp"
#include "../kernels/dispatch.hpp"
#include "arrays.hpp"
#include "module.hpp"

namespace sterna {
namespace {

Result<std::uint8_t> requantized(const nb::tuple& tensor, const std::string& encoding, const std::string& isa,
                                 std::size_t threads) {
    Bytes bytes;
    Floats scales;
    const Tensor source = to_tensor(tensor, bytes, scales);
    if (source.shape.size() != 2) throw std::invalid_argument("Only matrices can be requantised.");
    const Encoding target = encoding_named(encoding);
    std::size_t size = 0;
    if (__builtin_mul_overflow(source.shape[0], row_bytes(target, source.shape[1]), &size))
        throw std::invalid_argument("The matrix is too large.");
    auto out = make_result<std::uint8_t>({size});
    const nb::gil_scoped_release release;
    requantize(kernels_for(isa), source, target, at_least_one(threads), {out.data(), size});
    return out;
}

std::vector<bool> code_3_in(const std::vector<Bytes>& tensors) {
    const nb::gil_scoped_release release;
    std::vector<bool> found;
    for (const Bytes& codes : tensors) found.push_back(i2s_has_code_3(view(codes)));
    return found;
}

// Bytes that are not UTF-8 become U+FFFD.
nb::list gguf_strings(Bytes file, std::size_t position, std::size_t count) {
    nb::list strings;
    for (; count > 0; --count) {
        const auto bytes = next_gguf_string(view(file), position);
        PyObject* string = PyUnicode_DecodeUTF8(reinterpret_cast<const char*>(bytes.data()),
                                                static_cast<Py_ssize_t>(bytes.size()), "replace");
        if (string == nullptr) throw nb::python_error();
        strings.append(nb::steal(string));
    }
    return strings;
}

nb::tuple gguf_string_index(Bytes file, std::size_t position, std::size_t count, std::size_t stride) {
    const std::vector<std::uint64_t> found = gguf_string_starts(view(file), position, count, stride);
    auto starts = make_result<std::uint64_t>({found.size()});
    std::copy(found.begin(), found.end(), starts.data());
    return nb::make_tuple(starts, position);
}

// The I2_S codes and the scales of TQ1_0 or TQ2_0 blocks.
nb::tuple repack_tq(Bytes blocks, const std::string& encoding) {
    const std::size_t bytes = blocks.size() / tq_block_bytes(encoding) * (kTqBlock / 4);
    auto codes = make_result<std::uint8_t>({bytes});
    std::vector<float> found;
    {
        const nb::gil_scoped_release release;
        found = tq_to_i2s(encoding, view(blocks), codes.data());
    }
    auto scales = make_result<float>({found.size()});
    std::copy(found.begin(), found.end(), scales.data());
    return nb::make_tuple(codes, scales);
}

}  // namespace

void bind_encodings(nb::module_& m) {
    m.def(
        "formats",
        [] {
            constexpr const char* kActivations[] = {"none", "int8", "int15"};
            nb::list rows;
            for (const Format& format : kFormats)
                rows.append(nb::make_tuple(format.name, format.values, format.bytes,
                                           kActivations[static_cast<std::size_t>(format.activations)]));
            return rows;
        },
        "The encodings that the kernels know: name, values and bytes of a block, activations.");
    m.def("requantize", &requantized, "tensor"_a, "encoding"_a, "isa"_a, "threads"_a);
    m.def("gguf_strings", &gguf_strings, "file"_a, "position"_a, "count"_a,
          "Strings of a GGUF header; ValueError where one does not fit the file.");
    m.def("gguf_string_index", &gguf_string_index, "file"_a, "position"_a, "count"_a, "stride"_a,
          "Where every stride-th string begins, and the position behind the last; ValueError as gguf_strings.");
    m.def("i2s_has_code_3", &code_3_in, "tensors"_a,
          "For each vector of I2_S codes, whether it holds the meaningless code 3.");
    m.def("tq_to_i2s", &repack_tq, "blocks"_a, "encoding"_a);
}

}  // namespace sterna

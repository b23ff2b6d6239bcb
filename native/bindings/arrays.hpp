// The arrays that Python's side gives and takes, and tensors made from them.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <cstdint>
#include <initializer_list>
#include <span>

#include "../engine/tensor.hpp"

namespace sterna {

namespace nb = nanobind;
using namespace nb::literals;

using Bytes = nb::ndarray<const std::uint8_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Indices = nb::ndarray<const std::int32_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Tables = nb::ndarray<const std::int32_t, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using Words = nb::ndarray<const std::uint32_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Floats = nb::ndarray<const float, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using FloatRows = nb::ndarray<const float, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
template <class T>
using Result = nb::ndarray<nb::numpy, T, nb::c_contig>;

template <class T>
std::span<const T> view(const nb::ndarray<const T, nb::ndim<1>, nb::c_contig, nb::device::cpu>& array) {
    return {array.data(), array.size()};
}

// A new numpy array that owns its memory.
template <class T>
Result<T> make_result(std::initializer_list<std::size_t> shape) {
    std::size_t n = 1;
    for (const std::size_t s : shape) n *= s;
    T* data = new T[n];
    nb::capsule owner(data, [](void* p) noexcept { delete[] static_cast<T*>(p); });
    return Result<T>(data, shape, owner);
}

// (encoding, shape, uint8 vector, scale, group scales, read once); `bytes` and `scales` keep the vectors alive.
inline Tensor to_tensor(const nb::tuple& fields, Bytes& bytes, Floats& scales) {
    bytes = nb::cast<Bytes>(fields[2], false);  // false: no conversion, which would copy
    scales = nb::cast<Floats>(fields[4], false);
    return {.encoding = encoding_named(nb::cast<std::string>(fields[0])),
            .shape = nb::cast<std::vector<std::size_t>>(fields[1]),
            .bytes = view(bytes),
            .scale = nb::cast<float>(fields[3]),
            .group_scales = view(scales),
            .read_once = nb::cast<bool>(fields[5])};
}

// A number of threads that a pool can have.
inline std::size_t at_least_one(std::size_t threads) {
    return std::clamp<std::size_t>(threads, 1, 1024);
}

}  // namespace sterna

// Every encoding of stored values, one row each. Python's rows (src/sterna/tensor/encodings.py) have the same names,
// blocks and activations, which a test compares. A new row needs a type in blocks.hpp.
#pragma once

#include <cstddef>
#include <cstdint>

namespace sterna {

// The activations that a kernel multiplies an encoding with: float32, int8 or int15.
enum class Quantizer : std::uint8_t { none, int8, int15 };

// name, values and bytes of a block, activations, encoder (encode.hpp)
#define STERNA_ENCODINGS(ROW)               \
    ROW(f32, 1, 4, none, nullptr)           \
    ROW(f16, 1, 2, none, nullptr)           \
    ROW(bf16, 1, 2, none, nullptr)          \
    ROW(q4_0, 32, 18, int15, encode_q4_0)   \
    ROW(q4_1, 32, 20, int15, nullptr)       \
    ROW(q5_0, 32, 22, int15, nullptr)       \
    ROW(q5_1, 32, 24, int15, nullptr)       \
    ROW(q8_0, 32, 34, int15, encode_q8_0)   \
    ROW(q2_k, 256, 84, int15, nullptr)      \
    ROW(q3_k, 256, 110, int15, nullptr)     \
    ROW(q4_k, 256, 144, int15, nullptr)     \
    ROW(q5_k, 256, 176, int15, nullptr)     \
    ROW(q6_k, 256, 210, int15, encode_q6_k) \
    ROW(iq4_nl, 32, 18, int15, nullptr)     \
    ROW(q2_0, 64, 18, int15, nullptr)       \
    ROW(pq2_0, 128, 34, int15, nullptr)     \
    ROW(ptq1_0, 128, 28, int15, nullptr)    \
    ROW(q1_0, 128, 18, int15, nullptr)      \
    ROW(stq1_0, 256, 42, int15, nullptr)    \
    ROW(int4_g32, 32, 20, int8, nullptr)    \
    ROW(int4_g64, 64, 36, int8, nullptr)    \
    ROW(int4_g128, 128, 68, int8, nullptr)  \
    ROW(i2_s, 128, 32, int8, nullptr)

#define STERNA_NAME(name, values, bytes, activations, encode) name,
enum class Encoding : std::uint8_t { STERNA_ENCODINGS(STERNA_NAME) };
#undef STERNA_NAME

struct Format {
    const char* name;
    Encoding encoding;
    std::size_t values, bytes;  // of a block
    Quantizer activations;
    bool is_plain() const { return values == 1; }  // single floats
};

#define STERNA_FORMAT(name, values, bytes, activations, encode) \
    {#name, Encoding::name, values, bytes, Quantizer::activations},
inline constexpr Format kFormats[] = {STERNA_ENCODINGS(STERNA_FORMAT)};
#undef STERNA_FORMAT

[[gnu::always_inline]] constexpr const Format& format_of(Encoding encoding) {
    return kFormats[static_cast<std::size_t>(encoding)];
}

// INT4 in groups of columns (src/sterna/ternary/int4.py): a block is a group.
[[gnu::always_inline]] constexpr bool is_int4(Encoding encoding) {
    return encoding == Encoding::int4_g32 || encoding == Encoding::int4_g64 || encoding == Encoding::int4_g128;
}

}  // namespace sterna

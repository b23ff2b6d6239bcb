// Fills one ISA's table from the functions that the including translation unit has just defined.
#pragma once

#include "attention.hpp"
#include "ceilings.hpp"
#include "decode.hpp"
#include "encode.hpp"
#include "float_dot.hpp"
#include "float_ops.hpp"
#include "wide_dot.hpp"

namespace sterna {
namespace {

constexpr Kernels make_table(const char* isa, decltype(Kernels::ternary_dot) ternary_dot,
                             decltype(Kernels::table_dot) table_dot, decltype(Kernels::wide_dot) wide_dot,
                             decltype(Kernels::multiply_add) multiply_add) {
    return {isa,      ternary_dot, table_dot, decode, encode, float_dot, wide_dot,  quantize_wide, dot,
            rms_norm, quantize,    gated,     rope,   to_f16, store_kv,  attention, read_all,      multiply_add};
}

}  // namespace
}  // namespace sterna

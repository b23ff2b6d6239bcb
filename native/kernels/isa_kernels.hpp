// The kernels of one ISA, from the functions that the including translation unit has just defined.
#pragma once

#include "attention.hpp"
#include "ceilings.hpp"
#include "decode.hpp"
#include "encode.hpp"
#include "float_dot.hpp"
#include "float_ops.hpp"
#include "int15_dot.hpp"
#include "int4_panels.hpp"
#include "low_rank.hpp"
#include "panel_pack.hpp"
#include "products.hpp"
#include "rotation.hpp"
#include "ternary_panels.hpp"

namespace sterna {
namespace {

constexpr Kernels make_kernels(const char* isa, decltype(Kernels::ternary_dot) ternary_dot,
                               decltype(Kernels::ternary_panel_dot) ternary_panel_dot,
                               decltype(Kernels::lookup_dot) lookup_dot,
                               decltype(Kernels::panel_lookup_dot) panel_lookup_dot,
                               decltype(Kernels::int15_dot) int15_dot, decltype(Kernels::panel_dot) panel_dot,
                               decltype(Kernels::int4_dot) int4_dot, decltype(Kernels::multiply_add) multiply_add) {
    return {.isa = isa,
            .ternary_dot = ternary_dot,
            .ternary_panel_dot = ternary_panel_dot,
            .pack_ternary_panels = pack_ternary_panels,
            .pack_transposed_panels = pack_transposed_panels,
            .lookup_dot = lookup_dot,
            .panel_lookup_dot = panel_lookup_dot,
            .float_dot = float_dot,
            .int15_dot = int15_dot,
            .panel_dot = panel_dot,
            .panel_bytes = panel_bytes,
            .pack_panels = pack_panels,
            .int4_dot = int4_dot,
            .pack_int4_panels = pack_int4_panels,
            .rotate = rotate,
            .decode = decode,
            .encode = encode,
            .quantize_int8 = quantize_int8,
            .quantize_int15 = quantize_int15,
            .dot = dot,
            .rms_norm = rms_norm,
            .gated = gated,
            .rope = rope,
            .add_products = add_products,
            .split = nullptr,
            .add_split_products = nullptr,
            .add_low_rank = add_low_rank,
            .decays = decays,
            .softmax_sums = softmax_sums,
            .to_f16 = to_f16,
            .store_kv = store_kv,
            .attention = attention,
            .merge_attention = merge_attention,
            .finish_attention = finish_attention,
            .read_all = read_all,
            .multiply_add = multiply_add};
}

}  // namespace
}  // namespace sterna

// AVX-512 VNNI: 512-bit registers, but for rows that are multiplied as they lie, a few tokens at a time, and those of
// int15_dot.hpp, which take 256 bits (AVX-512VL).
#include "dpbusd_x86.hpp"
#include "int15_vnni.hpp"
#include "int4_dot.hpp"
#include "isa_kernels.hpp"
#include "panel_dot.hpp"
#include "ternary_lookup.hpp"

namespace sterna {

using Op = DpbusdOp<64, 3, 8, 13>;  // thirteen tokens and two panels have 26 sums in 32 registers

extern const Kernels kAvx512VnniKernels =
    make_kernels("avx512vnni", ternary_dot<Dpbusd<Op>>, ternary_panel_dot<PanelX86<Op>>, nullptr, panel_lookup_dot,
                 int15_dot<Int15Vnni>, panel_dot, int4_dot, multiply_add<Op>);

}  // namespace sterna

// AVX-VNNI: the processors that have vpdpbusd but no AVX-512 (Alder Lake and later).
#include "dpbusd_x86.hpp"
#include "int15_vnni.hpp"
#include "int4_dot.hpp"
#include "isa_kernels.hpp"
#include "panel_dot.hpp"

namespace sterna {

using Op = DpbusdOp<32, 2, 6, 6>;

extern const Kernels kAvxVnniKernels =
    make_kernels("avxvnni", ternary_dot<Dpbusd<Op>>, ternary_panel_dot<PanelX86<Op>>, nullptr, nullptr,
                 int15_dot<Int15Vnni>, panel_dot, int4_dot, multiply_add<Op>);

}  // namespace sterna

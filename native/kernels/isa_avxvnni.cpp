// AVX-VNNI: the processors that have vpdpbusd but no AVX-512 (Alder Lake and later).
#include "dpbusd_x86.hpp"
#include "isa_table.hpp"
#include "wide_vnni.hpp"

namespace sterna {

using Op = DpbusdOp<32, 2, 6>;

extern const Kernels kAvxVnniKernels =
    make_table("avxvnni", ternary_dot<Dpbusd<Op>>, nullptr, wide_dot<WideVnni>, multiply_add<Op>);

}  // namespace sterna

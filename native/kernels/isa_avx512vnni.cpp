// AVX-512 VNNI: tiles on 512-bit registers, the rest on the 256-bit ones that VL brings.
#include "dpbusd_x86.hpp"
#include "isa_table.hpp"
#include "wide_vnni.hpp"

namespace sterna {

using Op = DpbusdOp<64, 3, 8>;

extern const Kernels kAvx512VnniKernels =
    make_table("avx512vnni", ternary_dot<Dpbusd<Op>>, nullptr, wide_dot<WideVnni>, multiply_add<Op>);

}  // namespace sterna

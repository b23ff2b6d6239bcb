// AVX-VNNI: the processors that have vpdpbusd but no AVX-512 (Alder Lake and later).
#include "dpbusd_x86.hpp"
#include "isa_table.hpp"

namespace sterna {

extern const Kernels kAvxVnniKernels = make_table("avxvnni", ternary_dot<Dpbusd>, wide_dot<WideAvx2>, multiply_add);

}  // namespace sterna

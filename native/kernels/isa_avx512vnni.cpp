// AVX-512 VNNI, on the 256-bit registers that VL brings.
#include "dpbusd_x86.hpp"
#include "isa_table.hpp"

namespace sterna {

extern const Kernels kAvx512VnniKernels =
    make_table("avx512vnni", ternary_dot<Dpbusd>, wide_dot<WideAvx2>, multiply_add);

}  // namespace sterna

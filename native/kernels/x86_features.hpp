// The instruction sets that an x86 processor has and the operating system saves the registers of, by cpuid and xgetbv.
// __builtin_cpu_supports would know fewer of them, and needs a runtime library that clang-cl does not link.
#pragma once

namespace sterna {

struct X86Features {
    bool avx2 = false;  // with FMA and F16C
    bool avx_vnni = false;
    bool avx512_vnni = false;  // with AVX-512 F, BW and VL
    bool amx = false;  // AMX with int8 and bfloat16, with AVX-512 BF16
    bool is_amd = false;
};

const X86Features& x86_features();

}  // namespace sterna

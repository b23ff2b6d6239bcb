// What an x86 processor can do, and the operating system lets it do, by cpuid: the compilers' own checks know fewer
// names, and need a library that is not everywhere.
#pragma once

namespace sterna {

struct X86Features {
    bool avx2 = false;  // with FMA and F16C
    bool avx_vnni = false;
    bool avx512_vnni = false;  // with AVX-512 F, BW and VL
    bool amx_int8 = false;
    bool is_amd = false;
};

const X86Features& x86_features();

}  // namespace sterna

#include "x86_features.hpp"

#include <cpuid.h>

#include <cstdint>
#include <cstring>

#include "../platform/system.hpp"

namespace sterna {
namespace {

struct Registers {
    unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
};

// Zeros for a leaf that the processor lacks.
Registers cpuid(unsigned leaf, unsigned subleaf = 0) {
    Registers r;
    __get_cpuid_count(leaf, subleaf, &r.eax, &r.ebx, &r.ecx, &r.edx);
    return r;
}

constexpr bool bit(unsigned value, int index) {
    return (value >> index & 1) != 0;
}

// XCR0: which registers the operating system saves when it changes from one thread to another.
std::uint32_t saved_registers() {
    std::uint32_t low, high;
    asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return low;
}

X86Features detect() {
    const Registers vendor = cpuid(0), basic = cpuid(1), more = cpuid(7), extended = cpuid(7, 1);
    X86Features has;
    has.is_amd = std::memcmp(&vendor.ebx, "Auth", 4) == 0;  // AuthenticAMD
    if (!bit(basic.ecx, 27)) return has;                    // OSXSAVE: there is no XCR0
    constexpr std::uint32_t kYmm = 1u << 1 | 1u << 2, kZmm = kYmm | 1u << 5 | 1u << 6 | 1u << 7;
    const std::uint32_t saved = saved_registers();
    const bool ymm = (saved & kYmm) == kYmm, zmm = ymm && ((saved & kZmm) == kZmm || saves_zmm_when_used());
    const bool fma = bit(basic.ecx, 12), f16c = bit(basic.ecx, 29);
    has.avx2 = ymm && fma && f16c && bit(more.ebx, 5);
    has.avx_vnni = has.avx2 && bit(extended.eax, 4);
    const bool f = bit(more.ebx, 16), bw = bit(more.ebx, 30), vl = bit(more.ebx, 31), vnni = bit(more.ecx, 11);
    has.avx512_vnni = has.avx2 && zmm && f && bw && vl && vnni;
    const bool bf16 = bit(extended.eax, 5) && bit(more.edx, 22), tiles = bit(more.edx, 24), int8 = bit(more.edx, 25);
    has.amx = has.avx512_vnni && bf16 && tiles && int8 && request_amx_tiles();
    return has;
}

}  // namespace

const X86Features& x86_features() {
    static const X86Features features = detect();
    return features;
}

}  // namespace sterna

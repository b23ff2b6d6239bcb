#include <sys/auxv.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "system.hpp"

namespace sterna {

ArmFeatures arm_features() {
#if defined(__aarch64__)
    constexpr unsigned long kDotProduct = 1ul << 20, kI8mm = 1ul << 13;  // HWCAP_ASIMDDP, HWCAP2_I8MM
    return {(getauxval(AT_HWCAP) & kDotProduct) != 0, (getauxval(AT_HWCAP2) & kI8mm) != 0};
#else
    return {};
#endif
}

bool request_amx_tiles() {
#if defined(__x86_64__)
    constexpr long kRequestPermission = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILE_DATA
    return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
#else
    return false;
#endif
}

bool saves_zmm_when_used() {
    return false;
}

std::size_t performance_cores() {
    return 0;
}

std::string processor_name() {
    return {};
}

std::uint64_t available_memory() {
    return 0;
}

std::uint64_t peak_memory() {
    return 0;
}

std::uint64_t process_id() {
    return static_cast<std::uint64_t>(getpid());
}

void use_binary_streams() {}

}  // namespace sterna

#include <mach/mach.h>
#include <sys/resource.h>
#include <sys/sysctl.h>
#include <unistd.h>

#include "system.hpp"

namespace sterna {
namespace {

// The value of a setting of the kernel, 0 where it has none of this name.
std::uint64_t setting(const char* name) {
    std::uint64_t value = 0;  // little-endian: a 32-bit value fills its low half
    std::size_t size = sizeof(value);
    return sysctlbyname(name, &value, &size, nullptr, 0) == 0 ? value : 0;
}

}  // namespace

ArmFeatures arm_features() {
    return {setting("hw.optional.arm.FEAT_DotProd") != 0, setting("hw.optional.arm.FEAT_I8MM") != 0};
}

bool request_amx_tiles() {
    return false;
}

bool saves_zmm_when_used() {
    return true;
}

std::size_t performance_cores() {
    return static_cast<std::size_t>(setting("hw.perflevel0.logicalcpu"));
}

std::string processor_name() {
    char name[256] = {};
    std::size_t size = sizeof(name) - 1;
    return sysctlbyname("machdep.cpu.brand_string", name, &size, nullptr, 0) == 0 ? name : "";
}

std::uint64_t available_memory() {
    vm_statistics64_data_t pages;
    mach_msg_type_number_t count = HOST_VM_INFO64_COUNT;
    if (host_statistics64(mach_host_self(), HOST_VM_INFO64, reinterpret_cast<host_info64_t>(&pages), &count) !=
        KERN_SUCCESS)
        return 0;
    // Inactive pages are those of files and of memory that nobody has touched for a while; the system takes them first.
    const std::uint64_t free = std::uint64_t{pages.free_count} + pages.inactive_count + pages.purgeable_count;
    return free * static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE));
}

std::uint64_t peak_memory() {
    rusage usage;
    return getrusage(RUSAGE_SELF, &usage) == 0 ? static_cast<std::uint64_t>(usage.ru_maxrss) : 0;
}

std::uint64_t process_id() {
    return static_cast<std::uint64_t>(getpid());
}

void use_binary_streams() {}

}  // namespace sterna

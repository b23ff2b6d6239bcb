#include <fcntl.h>
#include <io.h>
#include <windows.h>

#include <cstdio>

#include "system.hpp"

// After windows.h, which it needs.
#include <psapi.h>

namespace sterna {

ArmFeatures arm_features() {
    return {};  // Sterna is not built for Windows on ARM.
}

bool request_amx_tiles() {
    return false;
}

bool saves_zmm_when_used() {
    return false;
}

std::size_t performance_cores() {
    return 0;
}

std::string processor_name() {
    char name[256] = {};
    DWORD size = sizeof(name) - 1;
    const char* key = R"(HARDWARE\DESCRIPTION\System\CentralProcessor\0)";
    const LSTATUS status =
        RegGetValueA(HKEY_LOCAL_MACHINE, key, "ProcessorNameString", RRF_RT_REG_SZ, nullptr, name, &size);
    return status == ERROR_SUCCESS ? name : "";
}

std::uint64_t available_memory() {
    MEMORYSTATUSEX memory;
    memory.dwLength = sizeof(memory);
    return GlobalMemoryStatusEx(&memory) ? memory.ullAvailPhys : 0;
}

std::uint64_t peak_memory() {
    PROCESS_MEMORY_COUNTERS memory;
    return GetProcessMemoryInfo(GetCurrentProcess(), &memory, sizeof(memory)) ? memory.PeakWorkingSetSize : 0;
}

std::uint64_t process_id() {
    return GetCurrentProcessId();
}

void use_binary_streams() {
    _setmode(_fileno(stdin), _O_BINARY);
    _setmode(_fileno(stdout), _O_BINARY);
}

}  // namespace sterna

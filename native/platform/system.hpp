// What the operating system says of the processor, the memory and this process.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace sterna {

// Extensions of ARM's NEON; false on other architectures.
struct ArmFeatures {
    bool dot_product = false, i8mm = false;
};
ArmFeatures arm_features();

// Asks the operating system to let this process use AMX's tiles, which make the state that a thread's context switch
// saves several times as large. False where it refuses or knows no tiles.
bool request_amx_tiles();

// Whether the system saves AVX-512's registers of a thread only once it has used them; XCR0 lacks their bits until
// then.
bool saves_zmm_when_used();

// Processors of the fastest kind, where the system tells kinds apart; 0 where it does not.
std::size_t performance_cores();

// The processor's name; empty on Linux, where Python reads it from /proc.
std::string processor_name();

// Bytes that can be taken without swapping; 0 on Linux, where Python reads them from /proc and control groups.
std::uint64_t available_memory();

// The most bytes of resident memory that this process has had so far; 0 on Linux, where Python reads them from /proc.
std::uint64_t peak_memory();

// Tells processes apart: a forked child differs from its parent.
std::uint64_t process_id();

// Makes standard input and output carry bytes: Windows changes the ends of lines otherwise.
void use_binary_streams();

}  // namespace sterna

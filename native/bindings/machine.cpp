// The processor, its instruction sets, and how fast they are at most.
#include "../engine/ceilings.hpp"
#include "../kernels/dispatch.hpp"
#include "../platform/system.hpp"
#include "arrays.hpp"
#include "module.hpp"

namespace sterna {

void bind_machine(nb::module_& m) {
    m.def("performance_cores", performance_cores,
          "Processors of the fastest kind, where the system tells kinds apart; 0 where it does not.");
    m.def("processor_name", processor_name, "The processor's name; empty on Linux, where files of the system tell it.");
    m.def("available_memory", available_memory,
          "Bytes that can be taken without swapping; 0 on Linux, where files of the system tell it.");
    m.def("peak_memory", peak_memory,
          "The most bytes of memory that this process has had; 0 on Linux, where files of the system tell it.");
    m.def(
        "available_isas",
        [] {
            std::vector<std::string> names;
            for (const Kernels* k : available_kernels()) names.emplace_back(k->isa);
            return names;
        },
        "Instruction sets that this build holds and this processor can run, best first.");
    m.def(
        "known_answers_hold", [](const std::string& isa) { return known_answers_hold(kernels_for(isa)); }, "isa"_a,
        "True where the kernels of `isa` give scalar's answers, to the bit, on fixed inputs.");
    m.def(
        "read_bandwidth",
        [](const std::string& isa, std::size_t bytes, std::size_t threads) {
            const Kernels& kernels = kernels_for(isa);
            const nb::gil_scoped_release release;
            return read_bandwidth(kernels, bytes, at_least_one(threads));
        },
        "isa"_a, "bytes"_a, "threads"_a);
    m.def(
        "multiply_add_rate",
        [](const std::string& isa, std::size_t threads) {
            const Kernels& kernels = kernels_for(isa);
            const nb::gil_scoped_release release;
            return multiply_add_rate(kernels, at_least_one(threads));
        },
        "isa"_a, "threads"_a);
    m.def("line_latency", &line_latency, nb::call_guard<nb::gil_scoped_release>());
}

}  // namespace sterna

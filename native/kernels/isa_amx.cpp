// AMX: from nine tokens on, ternary panels are multiplied in tiles; all other kernels are those of AVX-512 VNNI.
#include "ternary_panel_amx.hpp"

namespace sterna {

extern const Kernels kAvx512VnniKernels;

namespace {

void panel_dot(const TernaryPanelTask& task) {
    constexpr std::size_t kFewTokens = 8;  // up to here a tile costs more than it multiplies
    (task.n_tokens <= kFewTokens ? kAvx512VnniKernels.ternary_panel_dot : ternary_panel_amx)(task);
}

}  // namespace

const Kernels& amx_kernels() {
    static const Kernels kernels = [] {
        Kernels amx = kAvx512VnniKernels;
        amx.isa = "amx";
        amx.ternary_panel_dot = panel_dot;
        amx.panel_lookup_dot = nullptr;
        amx.multiply_add = multiply_add_amx;
        return amx;
    }();
    return kernels;
}

}  // namespace sterna

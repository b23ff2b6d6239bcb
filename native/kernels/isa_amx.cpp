// AMX: from five tokens on, ternary panels are multiplied in tiles; all other kernels are those of AVX-512 VNNI.
#include "ternary_group_amx.hpp"
#include "ternary_panel_amx.hpp"

namespace sterna {

extern const Kernels kAvx512VnniKernels;

namespace {

constexpr std::size_t kFewTokens = 4;  // up to here reading the panels is what takes the time

void ternary_panel_dot(const TernaryPanelTask& task) {
    (task.n_tokens <= kFewTokens ? kAvx512VnniKernels.ternary_panel_dot : ternary_panel_amx)(task);
}

// Of the block formats, those of ternary weights gain by tiles.
void panel_dot(const PanelTask& task) {
    bool taken = false;
    if (task.n_tokens > kFewTokens)
        with_block_format(task.encoding, [&]<class Format>(Format) {
            if constexpr (Format::kTernary) group_panel_amx(task, Format::kValues), taken = true;
        });
    if (!taken) kAvx512VnniKernels.panel_dot(task);
}

}  // namespace

const Kernels& amx_kernels() {
    static const Kernels kernels = [] {
        Kernels amx = kAvx512VnniKernels;
        amx.isa = "amx";
        amx.ternary_panel_dot = ternary_panel_dot;
        amx.panel_dot = panel_dot;
        amx.panel_lookup_dot = nullptr;
        amx.multiply_add = multiply_add_amx;
        return amx;
    }();
    return kernels;
}

}  // namespace sterna

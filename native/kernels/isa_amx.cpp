// AMX: many tokens meet ternary panels in tiles, and floats as halves; all other kernels are those of AVX-512 VNNI.
#include "int4_amx.hpp"
#include "split_amx.hpp"
#include "ternary_group_amx.hpp"
#include "ternary_panel_amx.hpp"

namespace sterna {

extern const Kernels kAvx512VnniKernels;

namespace {

// Up to so many tokens the vectors of AVX-512 VNNI are faster than tiles (docs/measurements.md).
constexpr std::size_t kFewTokens = 8;
constexpr std::size_t kFewTokensOfGroups = 4;

void ternary_panel_dot(const TernaryPanelTask& task) {
    (task.n_tokens <= kFewTokens ? kAvx512VnniKernels.ternary_panel_dot : ternary_panel_amx)(task);
}

// Of the block formats, those of ternary weights gain by tiles.
void panel_dot(const PanelTask& task) {
    if (task.n_tokens <= kFewTokensOfGroups) return kAvx512VnniKernels.panel_dot(task);
    with_block_format(task.encoding, [&]<class Format>(Format) {
        if constexpr (Format::kTernary)
            group_panel_amx(task, Format::kValues);
        else
            kAvx512VnniKernels.panel_dot(task);
    });
}

void int4_dot(const Int4Task& task) {
    const bool tiled = task.n_tokens > kFewTokens && task.halves == 1 && task.group % kTileColumns == 0;
    (tiled ? int4_amx : kAvx512VnniKernels.int4_dot)(task);
}

}  // namespace

const Kernels& amx_kernels() {
    static const Kernels kernels = [] {
        Kernels amx = kAvx512VnniKernels;
        amx.isa = "amx";
        amx.ternary_panel_dot = ternary_panel_dot;
        amx.panel_dot = panel_dot;
        amx.int4_dot = int4_dot;
        amx.split = split;
        amx.add_split_products = SplitAmx::add;
        amx.panel_lookup_dot = nullptr;
        amx.multiply_add = multiply_add_amx;
        return amx;
    }();
    return kernels;
}

}  // namespace sterna

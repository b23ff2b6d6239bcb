// Dot products of ternary panels, on the widest registers of the ISA. `Isa` provides
//
//   kTokens   most tokens that are multiplied at once
//   kFullGroups   true where the kernel of few tokens is cheap: tokens go in groups of kTokens, and a rest. Else they
//   go
//       in equal groups, since a single token that is left would unpack all codes again for itself
//   kPanels<T>   panels that T tokens take at once
//   multiply<T, P>(panels, lines, x, x_stride, ahead, sums)   sums[P][T][16] = codes . x of P panels of `lines` lines
//       each and T tokens; fetches what lies `ahead` bytes further on
//
// The codes are unpacked in registers, once for T tokens. The lines of a panel stay in L1 or L2 while the tokens pass,
// a few at a time.
#pragma once

#include <utility>

#include "ternary_dot.hpp"
#include "ternary_panels.hpp"

namespace sterna {
namespace {

// Multiplies P panels from first_panel on with tokens first .. first + T - 1.
template <class Isa, std::size_t T, std::size_t P>
void multiply_panels(const TernaryPanelTask& task, std::size_t first_panel, std::size_t first) {
    const std::size_t lines = task.cols / kLineColumns, row = first_panel * kTernaryRows;
    const std::uint8_t* panels = task.panels + first_panel * lines * kTernaryLine;
    // The output's lines come from L3 or memory: they are fetched while the sums are computed.
    for (std::size_t t = 0; t < T; ++t)
        for (std::size_t p = 0; p < P; ++p)
            __builtin_prefetch(task.out.data + (first + t) * task.out.stride + row + p * kTernaryRows, 1);
    alignas(64) std::int32_t sums[P][T][kTernaryRows];
    Isa::template multiply<T, P>(panels, lines, task.x.codes + first * task.x.stride, task.x.stride, task.ahead, sums);
    for (std::size_t p = 0; p < P; ++p) {
        const std::size_t begin = row + p * kTernaryRows, count = smaller(task.rows - begin, kTernaryRows);
        for (std::size_t t = 0; t < T; ++t) {
            const std::int32_t sum = task.x.sums[first + t];
            const float factor = task.scale / task.x.scales[first + t];
            float products[kTernaryRows];
            for (std::size_t r = 0; r < kTernaryRows; ++r)
                products[r] = static_cast<float>(sums[p][t][r] - sum) * factor;
            float* place = task.out.data + (first + t) * task.out.stride + begin;
            if (count == kTernaryRows)
                std::memcpy(place, products, sizeof(products));
            else
                for (std::size_t r = 0; r < count; ++r) place[r] = products[r];
        }
    }
}

// The same for panels first_panel .. last_panel - 1, P at a time.
template <class Isa, std::size_t T, std::size_t P>
void multiply_tokens(const TernaryPanelTask& task, std::size_t first_panel, std::size_t last_panel, std::size_t first) {
    std::size_t panel = first_panel;
    for (; panel + P <= last_panel; panel += P) multiply_panels<Isa, T, P>(task, panel, first);
    for (; panel < last_panel; ++panel) multiply_panels<Isa, T, 1>(task, panel, first);
}

// T counts from 0 to kTokens - 1.
template <class Isa, std::size_t... T>
void multiply_by_tokens(std::index_sequence<T...>, const TernaryPanelTask& task) {
    constexpr decltype(&multiply_tokens<Isa, 1, 1>) kByTokens[] = {
        multiply_tokens<Isa, T + 1, Isa::template kPanels<T + 1>>...};
    constexpr std::size_t kStep = 2;  // panels that stay in L1 or L2 while the tokens pass
    const std::size_t groups = (task.n_tokens + Isa::kTokens - 1) / Isa::kTokens;
    const std::size_t width = Isa::kFullGroups ? Isa::kTokens : (task.n_tokens + groups - 1) / groups;
    const std::size_t panels = (task.rows + kTernaryRows - 1) / kTernaryRows;
    for (std::size_t panel = 0; panel < panels; panel += kStep)
        for (std::size_t t = 0; t < task.n_tokens; t += width)
            kByTokens[smaller(width, task.n_tokens - t) - 1](task, panel, smaller(panel + kStep, panels), t);
}

template <class Isa>
void ternary_panel_dot(const TernaryPanelTask& task) {
    if (task.n_tokens != 0) multiply_by_tokens<Isa>(std::make_index_sequence<Isa::kTokens>(), task);
}

}  // namespace
}  // namespace sterna

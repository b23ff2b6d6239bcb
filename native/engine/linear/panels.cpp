#include "panels.hpp"

#include <algorithm>

namespace sterna {

Panels::Panels(const Tensor& tensor, const ActivationForm& form, const Kernels& kernels, const std::string& name)
    : Linear(tensor, form, kernels, name),
      panel_bytes_(kernels.panel_bytes(encoding_, in_features_)),
      panels_(parts(out_features_, kTileRows) * panel_bytes_) {}

void Panels::prepare(std::size_t thread, std::size_t n_threads) {
    const std::size_t panels = parts(out_features_, kTileRows);
    const std::size_t first = panels * thread / n_threads, last = panels * (thread + 1) / n_threads;
    if (first == last) return;
    const Rows share = rows(first * kTileRows, std::min(last * kTileRows, out_features_));
    kernels_.pack_panels(encoding_, share, in_features_, panels_.get() + first * panel_bytes_);
}

// Tiles take three panels at once where registers have 512 bits.
Division Panels::division(std::size_t n_tokens, std::size_t n_threads) const {
    constexpr std::size_t kPanels = 3;
    Division division = Linear::division(n_tokens, n_threads);
    division.chunk = parts(division.chunk, kPanels) * kPanels;
    return division;
}

}  // namespace sterna

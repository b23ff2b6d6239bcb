#include "panels.hpp"

namespace sterna {

Panels::Panels(const Tensor& tensor, const ActivationForm& form, const Kernels& kernels, const std::string& name)
    : Linear(tensor, form, kernels, name),
      panel_bytes_(kernels.panel_bytes(encoding_, in_features_)),
      panels_(parts(out_features_, kTileRows) * panel_bytes_) {
    kernels_.pack_panels(encoding_, rows(0, out_features_), in_features_, panels_.get());
}

}  // namespace sterna

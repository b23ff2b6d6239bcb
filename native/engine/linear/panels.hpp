// Route for block formats and int15 activations: the matrix is repacked to panels of sixteen rows when it settles.
// Before that each product repacks the rows that it takes, so that the first token does not wait for memory.
#pragma once

#include <algorithm>

#include "linear.hpp"

namespace sterna {

class Panels final : public Linear {
public:
    static bool takes(const Tensor& tensor, const ActivationForm& form) {
        return format_of(tensor.encoding).activations == Quantizer::int15 && form == ActivationForm{Quantizer::int15};
    }
    Panels(const Tensor& tensor, const ActivationForm& form, const Kernels& kernels, const std::string& name)
        : Linear(tensor, form, kernels, name), panel_bytes_(kernels.panel_bytes(encoding_, in_features_)) {}

    bool repacks() const override { return true; }
    std::size_t memory_bytes() const override { return parts(out_features_, kTileRows) * panel_bytes_; }
    std::size_t scratch() const override { return kPanels * panel_bytes_ / sizeof(float); }
    Division division(std::size_t n_tokens, std::size_t n_threads) const override {
        Division division = Linear::division(n_tokens, n_threads);
        if (n_tokens >= kLeastBlockTokens) division.chunk = parts(division.chunk, kPanels) * kPanels;
        return division;
    }

private:
    static constexpr std::size_t kPanels = 6;  // kernels take one, two or three at once

    void pack(std::size_t first, std::size_t last, std::uint8_t* memory) const override {
        pack_panels(first, last, memory + first / kTileRows * panel_bytes_);
    }
    void pack_panels(std::size_t first, std::size_t last, std::uint8_t* panels) const {
        kernels_.pack_panels(encoding_, rows(first, last), in_features_, panels);
    }

    void multiply_rows(const Activations& x, std::size_t first, std::size_t last, const Division&, float* scratch,
                       const Products& out) const override {
        if (settled()) return multiply_panels(data_ + first / kTileRows * panel_bytes_, x, first, last, out);
        auto* panels = reinterpret_cast<std::uint8_t*>(scratch);
        for (std::size_t r = first; r < last; r += kPanels * kTileRows) {
            const std::size_t end = std::min(r + kPanels * kTileRows, last);
            pack_panels(r, end, panels);
            multiply_panels(panels, x, r, end, out);
        }
        drop_behind(first, last);  // a part of these rows may be in memory already, as panels that are to settle
    }
    void multiply_panels(const std::uint8_t* panels, const Activations& x, std::size_t first, std::size_t last,
                         const Products& out) const {
        kernels_.panel_dot(
            {encoding_, panels, last - first, x.int15, x.n_tokens, in_features_, {out.data + first, out.stride}});
    }

    std::size_t panel_bytes_;
};

}  // namespace sterna

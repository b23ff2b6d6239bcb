// Route for block formats and int15 activations: the matrix is repacked to panels of sixteen rows when it is loaded.
#pragma once

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
    // With many tokens kernels take two or three panels at once.
    Division division(std::size_t n_tokens, std::size_t n_threads) const override {
        constexpr std::size_t kPanels = 6;
        Division division = Linear::division(n_tokens, n_threads);
        if (n_tokens >= kTileRows) division.chunk = parts(division.chunk, kPanels) * kPanels;
        return division;
    }

private:
    void pack(std::size_t first, std::size_t last, std::uint8_t* memory) const override {
        kernels_.pack_panels(encoding_, rows(first, last), in_features_, memory + first / kTileRows * panel_bytes_);
    }
    void multiply_rows(const Activations& x, std::size_t first, std::size_t last, const Division&, float*,
                       const Products& out) const override {
        kernels_.panel_dot({encoding_,
                            data_ + first / kTileRows * panel_bytes_,
                            last - first,
                            x.int15,
                            x.n_tokens,
                            in_features_,
                            {out.data + first, out.stride}});
    }

    std::size_t panel_bytes_;
};

}  // namespace sterna

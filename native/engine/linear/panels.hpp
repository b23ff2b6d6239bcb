// Route for block formats and int15 activations: the matrix is repacked to panels of sixteen rows when it is loaded.
#pragma once

#include "../huge_pages.hpp"
#include "linear.hpp"

namespace sterna {

class Panels final : public Linear {
public:
    static bool takes(const Tensor& tensor, const ActivationForm& form) {
        return format_of(tensor.encoding).activations == Quantizer::int15 && form == ActivationForm{Quantizer::int15};
    }
    Panels(const Tensor& tensor, const ActivationForm& form, const Kernels& kernels, const std::string& name);

    void prepare(std::size_t thread, std::size_t n_threads) override;
    Division division(std::size_t n_tokens, std::size_t n_threads) const override;

private:
    void multiply_rows(const Activations& x, std::size_t first, std::size_t last, const Division&, float*,
                       const Products& out) const override {
        kernels_.panel_dot({encoding_,
                            panels_.get() + first / kTileRows * panel_bytes_,
                            last - first,
                            x.int15,
                            x.n_tokens,
                            in_features_,
                            {out.data + first, out.stride}});
    }

    std::size_t panel_bytes_;
    HugePages panels_;
};

}  // namespace sterna

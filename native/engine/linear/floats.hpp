// Routes for float32 activations. Floats multiplies rows of floats as they are stored. Decoded takes rows of other
// encodings, and rows whose length is not a multiple of 16, and decodes each row once for all tokens.
#pragma once

#include <algorithm>

#include "linear.hpp"

namespace sterna {

class Floats final : public Linear {
public:
    static bool takes(const Tensor& tensor, const ActivationForm& form) {
        return form.quantizer == Quantizer::none && format_of(tensor.encoding).is_plain() &&
               tensor.shape.back() % 16 == 0;
    }
    Floats(const Tensor& tensor, const ActivationForm& form, const Kernels& kernels, const std::string& name)
        : Linear(tensor, form, kernels, name) {}

private:
    void multiply_rows(const Activations& x, std::size_t first, std::size_t last, const Division&, float*,
                       const Products& out) const override {
        kernels_.float_dot({encoding_,
                            rows(first, last),
                            {x.values, x.stride},
                            x.n_tokens,
                            in_features_,
                            {out.data + first, out.stride}});
    }
};

class Decoded final : public Linear {
public:
    static bool takes(const Tensor&, const ActivationForm& form) { return form.quantizer == Quantizer::none; }
    Decoded(const Tensor& tensor, const ActivationForm& form, const Kernels& kernels, const std::string& name)
        : Linear(tensor, form, kernels, name) {}

    std::size_t scratch() const override { return padded(in_features_); }

private:
    void multiply_rows(const Activations& x, std::size_t first, std::size_t last, const Division&, float* scratch,
                       const Products& out) const override {
        const std::size_t n = padded(in_features_);
        const Rows decoded{reinterpret_cast<const std::uint8_t*>(scratch), 4 * n, 1};
        for (std::size_t r = first; r < last; ++r) {
            row(r, scratch);
            std::fill(scratch + in_features_, scratch + n, 0.0f);
            kernels_.float_dot(
                {Encoding::f32, decoded, {x.values, x.stride}, x.n_tokens, n, {out.data + r, out.stride}});
        }
    }
};

}  // namespace sterna

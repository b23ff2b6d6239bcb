// Route for INT4 in groups of columns, with int8 activations that have a scale for each of these groups, or with int15
// ones: exact integer sums over a group, then float32 sums in the order of the columns. As in panels.hpp, the matrix is
// repacked to panels of sixteen rows when it settles, and before that for each product.
#pragma once

#include <algorithm>

#include "linear.hpp"

namespace sterna {

class Int4 final : public Linear {
public:
    static bool takes(const Tensor& tensor, const ActivationForm& form) {
        return is_int4(tensor.encoding) && (form == ActivationForm{Quantizer::int15} ||
                                            form == ActivationForm{Quantizer::int8, group_of(tensor.encoding)});
    }
    Int4(const Tensor& tensor, const ActivationForm& form, const Kernels& kernels, const std::string& name)
        : Linear(tensor, form, kernels, name),
          group_(group_of(encoding_)),
          groups_(in_features_ / group_),
          panel_bytes_(int4_panel_bytes(in_features_, group_)) {}

    bool repacks() const override { return true; }
    std::size_t memory_bytes() const override { return parts(out_features_, kTileRows) * panel_bytes_; }
    std::size_t scratch() const override { return sums_room() + kPanels * panel_bytes_ / sizeof(float); }
    Division division(std::size_t n_tokens, std::size_t n_threads) const override {
        Division division = Linear::division(n_tokens, n_threads);
        if (n_tokens >= kLeastBlockTokens) division.chunk = kPanels;
        return division;
    }

private:
    static constexpr std::size_t kPanels = 4;  // that AMX takes at once

    static std::size_t group_of(Encoding encoding) { return format_of(encoding).values; }

    // Floats of the sums of both halves and of the factors, for the most tokens of an item.
    std::size_t sums_room() const { return padded(3 * kMostTokens * groups_); }

    void pack(std::size_t first, std::size_t last, std::uint8_t* memory) const override {
        pack_panels(first, last, memory + first / kTileRows * panel_bytes_);
    }
    void pack_panels(std::size_t first, std::size_t last, std::uint8_t* panels) const {
        kernels_.pack_int4_panels(rows(first, last), in_features_, group_, panels);
    }

    void multiply_rows(const Activations& x, std::size_t first, std::size_t last, const Division&, float* scratch,
                       const Products& out) const override {
        Int4Task task = of_tokens(x, scratch);
        const auto multiply = [&](const std::uint8_t* panels, std::size_t r, std::size_t end) {
            task.panels = panels;
            task.rows = end - r;
            task.out = {out.data + r, out.stride};
            kernels_.int4_dot(task);
        };
        if (settled()) {
            multiply(data_ + first / kTileRows * panel_bytes_, first, last);
        } else {
            auto* panels = reinterpret_cast<std::uint8_t*>(scratch + sums_room());
            for (std::size_t r = first; r < last; r += kPanels * kTileRows) {
                const std::size_t end = std::min(r + kPanels * kTileRows, last);
                pack_panels(r, end, panels);
                multiply(panels, r, end);
            }
            drop_behind(first, last);
        }
        if (form_.quantizer == Quantizer::int15)
            for (std::size_t t = 0; t < x.n_tokens; ++t)
                for (std::size_t r = first; r < last; ++r) out.data[t * out.stride + r] *= 1.0f / x.int15.scales[t];
    }

    // The activations as the kernel takes them; their sums and factors are written to `memory`.
    Int4Task of_tokens(const Activations& x, float* memory) const {
        const std::size_t n = x.n_tokens * groups_;
        float *high = memory, *low = high + n, *factors = low + n;
        Int4Task task{};
        task.cols = in_features_;
        task.group = group_;
        task.factors = factors;
        task.n_tokens = x.n_tokens;
        if (form_.quantizer == Quantizer::int8) {
            for (std::size_t i = 0; i < n; ++i) {
                high[i] = static_cast<float>(x.int8.sums[i]);
                factors[i] = 1.0f / x.int8.scales[i];
            }
            task.x[0] = {x.int8.codes, high};
            task.halves = 1;
            task.stride = x.int8.stride;
            return task;
        }
        std::fill_n(factors, n, 1.0f);
        for (std::size_t t = 0; t < x.n_tokens; ++t)
            for (std::size_t g = 0; g < groups_; ++g) {
                const std::size_t at = (t * x.int15.stride + g * group_) / 16, i = t * groups_ + g;
                high[i] = sum(x.int15.high_sums + at);
                low[i] = sum(x.int15.low_sums + at);
            }
        task.x[0] = {x.int15.high, high};
        task.x[1] = {x.int15.low, low};
        task.halves = 2;
        task.stride = x.int15.stride;
        return task;
    }

    float sum(const std::int16_t* sixteens) const {
        std::int32_t total = 0;
        for (std::size_t i = 0; i < group_ / 16; ++i) total += sixteens[i];
        return static_cast<float>(total);
    }

    std::size_t group_, groups_, panel_bytes_;
};

}  // namespace sterna

#include "ternary_groups.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <stdexcept>

namespace sterna {
namespace {

constexpr std::size_t kLeastShare = 64, kTokens = 64, kRows = 48;

}  // namespace

TernaryGroups::TernaryGroups(const Tensor& tensor, const ActivationForm& form, const Kernels& kernels,
                             const std::string& name)
    : Linear(tensor, form, kernels, name) {
    groups_ = group_scales_.size() / out_features_;
    const std::size_t of_codes = in_features_ / std::max<std::size_t>(groups_, 1);
    const std::size_t of_activations = form.group_size == 0 ? in_features_ : form.group_size;
    share_ = std::min(of_codes, of_activations);
    shares_ = in_features_ / share_;
    if (in_features_ % kPad != 0 || share_ % kLeastShare != 0 || in_features_ % of_activations != 0 ||
        of_codes % share_ != 0 || of_activations % share_ != 0)
        throw std::invalid_argument("The groups of the tensor '" + name + "' and of its activations do not fit.");
    if (groups_ != 0 && scale_ != 1.0f)
        throw std::invalid_argument("The tensor '" + name + "' has scales of groups and one of its own.");
}

// dots[t * kRows + r] = the sum over one share of the columns, for at most kTokens tokens and kRows rows. Blocks of
// I2_S hold 128 columns, so a share of 64 is multiplied with a copy of the activations whose other half is zero.
void TernaryGroups::share_dots(const Activations& x, std::size_t share, const Rows& rows, float* dots) const {
    const std::size_t begin = share * share_, block = begin / kPad * kPad;
    const std::size_t cols = std::max(share_, kPad);
    Int8Activations part{x.int8.codes + block, nullptr, nullptr, x.int8.stride};
    std::array<std::int8_t, kTokens * kPad> halves;
    if (share_ < kPad) {
        halves.fill(0);
        for (std::size_t t = 0; t < x.n_tokens; ++t)
            std::memcpy(&halves[t * kPad + begin - block], x.int8.codes + t * x.int8.stride + begin, share_);
        part = {halves.data(), nullptr, nullptr, kPad};
    }
    std::array<std::int32_t, kTokens> sums{};
    for (std::size_t t = 0; t < x.n_tokens; ++t)
        for (std::size_t k = 0; k < cols; ++k) sums[t] += part.codes[t * part.stride + k];
    std::array<float, kTokens> ones;
    ones.fill(1.0f);
    part.sums = sums.data();
    part.scales = ones.data();
    kernels_.ternary_dot(
        {{rows.data + block / 4, rows.stride, rows.count}, 1.0f, part, x.n_tokens, cols, {dots, kRows}});
}

void TernaryGroups::multiply_rows(const Activations& all, std::size_t first, std::size_t last, const Division&, float*,
                                  const Products& out) const {
    std::array<float, kRows * kTokens> dots;
    for (std::size_t t = 0; t < all.n_tokens; t += kTokens) {
        const Activations x = all.part(t, std::min(kTokens, all.n_tokens - t));
        const std::size_t act_groups = x.int8.groups;
        for (std::size_t r = first; r < last; r += kRows) {
            const std::size_t n_rows = std::min(kRows, last - r);
            const auto at = [&](std::size_t i) { return out.data + (t + i) * out.stride + r; };
            for (std::size_t i = 0; i < x.n_tokens; ++i) std::fill_n(at(i), n_rows, 0.0f);
            for (std::size_t share = 0; share < shares_; ++share) {
                share_dots(x, share, rows(r, r + n_rows), dots.data());
                std::array<float, kRows> scales;
                for (std::size_t j = 0; j < n_rows; ++j)
                    scales[j] = groups_ == 0 ? scale_ : group_scales_[(r + j) * groups_ + share * groups_ / shares_];
                for (std::size_t i = 0; i < x.n_tokens; ++i) {
                    const float* dot = &dots[i * kRows];
                    if (act_groups == 1) {
                        for (std::size_t j = 0; j < n_rows; ++j) at(i)[j] += dot[j] * scales[j];
                        continue;
                    }
                    const float s = x.int8.scales[i * act_groups + share * act_groups / shares_];
                    for (std::size_t j = 0; j < n_rows; ++j) at(i)[j] += dot[j] * (scales[j] * (1.0f / s));
                }
            }
            if (act_groups == 1)
                for (std::size_t i = 0; i < x.n_tokens; ++i)
                    for (std::size_t j = 0; j < n_rows; ++j) at(i)[j] *= 1.0f / x.int8.scales[i];
        }
    }
}

}  // namespace sterna

#include "slot.hpp"

#include <algorithm>
#include <numeric>
#include <stdexcept>
#include <utility>

namespace sterna {
namespace {

std::size_t whole_lines(std::size_t bytes) {
    return (bytes + 63) / 64 * 64;
}

bool meet(const std::vector<bool>& a, const std::vector<bool>& b) {
    for (std::size_t phase = 0; phase < a.size(); ++phase)
        if (a[phase] && b[phase]) return true;
    return false;
}

// Places arrays in one piece of memory, each at the start of a cache line. With a null pointer it only counts bytes.
class Placer {
public:
    explicit Placer(std::byte* memory) : memory_(memory) {}
    template <class T>
    void take(T*& array, std::size_t n) {
        array = memory_ == nullptr ? nullptr : reinterpret_cast<T*>(memory_ + used_);
        used_ += whole_lines(n * sizeof(T));
    }
    std::size_t used() const { return used_; }

private:
    std::byte* memory_;
    std::size_t used_ = 0;
};

}  // namespace

// Rows of codes begin an odd number of cache lines apart: the same columns of sixteen tokens, which AMX loads together,
// would else share few sets of L1.
QuantizedCopy::QuantizedCopy(const ActivationForm& form, std::size_t width)
    : form_(form),
      columns_(padded(width)),
      stride_(columns_ + 64),
      group_(form.group_size == 0 ? columns_ : form.group_size) {
    if (form.group_size != 0 && (form.quantizer != Quantizer::int8 || group_ % 16 != 0 || width % group_ != 0))
        throw std::invalid_argument("The engine cannot quantise rows of " + std::to_string(width) + " in groups of " +
                                    std::to_string(group_) + ".");
    groups_ = form.group_size == 0 ? 1 : width / group_;
}

std::size_t QuantizedCopy::place(std::byte* memory, std::size_t tokens) {
    Placer placer(memory);
    placer.take(scales_, tokens * groups_);
    if (form_.quantizer == Quantizer::int8) {
        placer.take(codes_, tokens * stride_);
        placer.take(sums_, tokens * groups_);
    } else {
        placer.take(int15_.high, tokens * stride_);
        placer.take(int15_.low, tokens * stride_);
        placer.take(int15_.high_sums, tokens * stride_ / 16);
        placer.take(int15_.low_sums, tokens * stride_ / 16);
        placer.take(int15_.eights, tokens * stride_ / 4);
        placer.take(int15_.values, tokens * stride_);
        placer.take(int15_.sixteens, tokens * stride_ / 16);
        placer.take(int15_.thirty_twos, tokens * stride_ / 32);
    }
    return placer.used();
}

Int8Rows QuantizedCopy::rows(std::size_t token, std::size_t column) const {
    const std::size_t at = token * groups_ + column / group_;
    return {codes_ + token * stride_ + column, stride_, scales_ + at, sums_ + at, groups_, group_};
}

void QuantizedCopy::quantize(const Kernels& kernels, const float* values, std::size_t token) {
    const std::size_t at = token * stride_;
    if (form_.quantizer == Quantizer::int8) {
        for (std::size_t g = 0; g < groups_; ++g)
            kernels.quantize_int8(values + g * group_, group_, codes_ + at + g * group_, scales_ + token * groups_ + g,
                                  sums_ + token * groups_ + g);
        return;
    }
    kernels.quantize_int15(values, columns_,
                           {int15_.high + at, int15_.low + at, int15_.high_sums + at / 16, int15_.low_sums + at / 16,
                            int15_.eights + at / 4, int15_.values + at, int15_.sixteens + at / 16,
                            int15_.thirty_twos + at / 32, scales_ + token});
}

void QuantizedCopy::view(Activations& activations) const {
    if (form_.quantizer == Quantizer::int8)
        activations.int8 = {codes_, sums_, scales_, stride_, groups_};
    else
        activations.int15 = {int15_.high,   int15_.low,      int15_.high_sums,   int15_.low_sums, int15_.eights,
                             int15_.values, int15_.sixteens, int15_.thirty_twos, scales_,         stride_};
}

Slot::Slot(std::string name, std::size_t width) : name(std::move(name)), width(width), stride(padded(width)) {}

void Slot::require(const ActivationForm& form) {
    const bool there = std::any_of(copies.begin(), copies.end(), [&](const auto& copy) { return copy.form() == form; });
    if (form.quantizer != Quantizer::none && !there) copies.emplace_back(form, width);
}

std::size_t Slot::place(std::byte* memory, std::size_t tokens) {
    Placer placer(memory);
    placer.take(values, tokens * stride);
    std::size_t used = placer.used();
    for (QuantizedCopy& copy : copies) used += copy.place(memory == nullptr ? nullptr : memory + used, tokens);
    return used;
}

void Slot::quantize(const Kernels& kernels, std::size_t token) {
    for (QuantizedCopy& copy : copies) copy.quantize(kernels, row(token), token);
}

const QuantizedCopy* Slot::in_groups(std::size_t columns) const {
    const std::size_t group = copies.size() == 1 ? copies.front().form().group_size : 0;
    return group != 0 && columns % group == 0 ? &copies.front() : nullptr;
}

Activations Slot::activations(const ActivationForm& form, std::size_t n_tokens) const {
    Activations activations;
    activations.n_tokens = n_tokens;
    activations.stride = stride;
    activations.values = values;
    for (const QuantizedCopy& copy : copies)
        if (copy.form() == form) copy.view(activations);
    return activations;
}

Layout lay_out(const std::vector<std::size_t>& sizes, const std::vector<std::vector<bool>>& in_use) {
    std::vector<std::size_t> order(sizes.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return sizes[a] > sizes[b]; });
    Layout layout{std::vector<std::size_t>(sizes.size()), 0};
    std::vector<std::size_t> placed;
    for (const std::size_t i : order) {
        std::size_t& offset = layout.offsets[i];
        const auto in_the_way = [&](std::size_t j) {
            return offset < layout.offsets[j] + sizes[j] && layout.offsets[j] < offset + sizes[i] &&
                   meet(in_use[i], in_use[j]);
        };
        for (auto j = placed.begin(); (j = std::find_if(placed.begin(), placed.end(), in_the_way)) != placed.end();)
            offset = layout.offsets[*j] + sizes[*j];
        placed.push_back(i);
        layout.bytes = std::max(layout.bytes, offset + sizes[i]);
    }
    return layout;
}

}  // namespace sterna

#include "rotation.hpp"

#include <algorithm>
#include <cmath>
#include <stdexcept>

namespace sterna {
namespace {

constexpr std::size_t kTileTokens = 16;

// The pairs as columns; each row of them must be a permutation.
std::vector<std::size_t> columns_of(const std::vector<float>& pairs, std::size_t width) {
    std::vector<std::size_t> columns(pairs.size());
    std::vector<std::size_t> seen(width, 0);
    for (std::size_t i = 0; i < pairs.size(); ++i) {
        const bool is_column = pairs[i] >= 0.0f && pairs[i] < static_cast<float>(width);
        columns[i] = is_column ? static_cast<std::size_t>(pairs[i]) : 0;
        std::size_t& rotation = seen[columns[i]];
        if (!is_column || static_cast<float>(columns[i]) != pairs[i] || rotation == i / width + 1)
            throw std::invalid_argument("The pairs of a rotation are no permutation of its columns.");
        rotation = i / width + 1;
    }
    return columns;
}

// The least group of columns that no pair leaves.
std::size_t group_of(const std::vector<std::size_t>& columns, std::size_t width) {
    for (std::size_t group = 32; group <= kMaxRotationGroup; group *= 2) {
        bool inside = width % group == 0;
        for (std::size_t i = 0; inside && i < columns.size(); ++i) inside = columns[i] / group == i % width / group;
        if (inside) return group;
    }
    throw std::invalid_argument("The pairs of a rotation reach further than groups of 32 to 256 columns.");
}

}  // namespace

Rotate::Rotate(std::vector<float> scales, const std::vector<float>& angles, const std::vector<float>& pairs,
               std::size_t x, std::size_t out, const Slot& slot, bool keeps_values)
    : keeps_values_(keeps_values),
      x_(x),
      out_(out),
      rotations_(pairs.size() / scales.size()),
      scales_(std::move(scales)) {
    reads = {x};
    writes = {out};
    const std::vector<std::size_t> columns = columns_of(pairs, scales_.size());
    group_ = group_of(columns, scales_.size());
    for (std::size_t group = 0; group < scales_.size(); group += group_) tabulate(angles, columns, group);
    const bool in_groups = slot.in_groups(group_) != nullptr;
    keeps_values_ = keeps_values_ || !in_groups;
    grain = slot.copies.empty() || in_groups ? Grain::rows : Grain::tokens;
}

// Appends the tables of the group of columns from `group` on, so that a group's lie together. `place`: where each
// column lies in the order in which the rotation before leaves them.
void Rotate::tabulate(const std::vector<float>& angles, const std::vector<std::size_t>& columns, std::size_t group) {
    const std::size_t width = scales_.size(), half = group_ / 2;
    std::vector<std::uint8_t> place(group_), next(group_);
    for (std::size_t c = 0; c < group_; ++c) place[c] = static_cast<std::uint8_t>(c);
    for (std::size_t k = 0; k < rotations_; ++k) {
        const std::size_t at = places_.size();
        places_.resize(at + group_);
        for (std::size_t i = 0; i < group_; ++i) {
            const std::size_t to = i % 2 * half + i / 2, column = columns[k * width + group + i] - group;
            tile_pairs_.push_back(static_cast<std::uint16_t>(column * kTileTokens));
            places_[at + to] = place[column];
            next[column] = static_cast<std::uint8_t>(to);
        }
        place = next;
        for (std::size_t m = 0; m < half; ++m) {
            const auto angle = static_cast<double>(angles[(k * width + group) / 2 + m]);
            cos_.push_back(static_cast<float>(std::cos(angle)));
            sin_.push_back(static_cast<float>(std::sin(angle)));
        }
    }
    places_.insert(places_.end(), place.begin(), place.end());
}

std::size_t Rotate::items(const Run& run) const {
    return quantizes() ? parts(run.batch.size(), kTileTokens) * groups() : run.batch.size();
}

std::size_t Rotate::chunk(const Run& run) const {
    constexpr std::size_t kShare = 2;  // chunks of a thread, where there is one tile
    return quantizes() ? parts(groups(), kShare * run.n_threads)
                       : std::clamp<std::size_t>(run.batch.size() / run.n_threads, 1, kTileTokens);
}

void Rotate::run(Run& run, std::size_t, std::size_t first, std::size_t last) const {
    const std::size_t n = run.batch.size();
    if (!quantizes()) {
        for (std::size_t t = first; t < last; t += kTileTokens)
            for (std::size_t group = 0; group < groups(); ++group)
                rotate(run, t, std::min(kTileTokens, last - t), group, {});
        return;
    }
    const QuantizedCopy* copy = run.slots[out_].in_groups(group_);
    for (std::size_t i = first; i < last; ++i) {
        const std::size_t t = i / groups() * kTileTokens, group = i % groups();
        rotate(run, t, std::min(kTileTokens, n - t), group, copy ? copy->rows(t, group * group_) : Int8Rows{});
    }
}

void Rotate::rotate(Run& run, std::size_t token, std::size_t n_tokens, std::size_t group,
                    const Int8Rows& quantized) const {
    const Slot &x = run.slots[x_], &out = run.slots[out_];
    const std::size_t column = group * group_, of_group = rotations_ * group_;
    const float *cos = cos_.data() + group * of_group / 2, *sin = sin_.data() + group * of_group / 2;
    const std::uint8_t* places = places_.data() + group * (of_group + group_);
    if (group + 1 < groups()) {  // the tables of the next group: few lines of each of several streams
        constexpr std::size_t kLine = 64;
        for (std::size_t at = 0; at < of_group / 2; at += kLine / sizeof(float)) {
            __builtin_prefetch(cos + of_group / 2 + at);
            __builtin_prefetch(sin + of_group / 2 + at);
        }
        for (std::size_t at = 0; at < of_group + group_; at += kLine)
            __builtin_prefetch(places + of_group + group_ + at);
    }
    run.kernels.rotate({.rotations = rotations_,
                        .groups = 1,
                        .group = group_,
                        .first = 0,
                        .last = 1,
                        .scales = scales_.data() + column,
                        .cos = cos,
                        .sin = sin,
                        .tile_pairs = tile_pairs_.data() + group * of_group,
                        .places = places,
                        .x = x.row(token) + column,
                        .x_stride = x.stride,
                        .out = keeps_values_ ? out.row(token) + column : nullptr,
                        .out_stride = out.stride,
                        .n_tokens = n_tokens,
                        .quantized = quantized});
}

std::size_t Rotate::bytes() const {
    return sizeof(float) * (scales_.size() + cos_.size() + sin_.size()) + places_.size();
}

}  // namespace sterna

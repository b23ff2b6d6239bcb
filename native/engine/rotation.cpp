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
               std::size_t x, std::size_t out, const Slot& slot)
    : x_(x), out_(out), rotations_(pairs.size() / scales.size()), scales_(std::move(scales)) {
    reads = {x};
    writes = {out};
    const std::vector<std::size_t> columns = columns_of(pairs, scales_.size());
    group_ = group_of(columns, scales_.size());
    for (const std::size_t column : columns) tile_pairs_.push_back(static_cast<std::uint8_t>(column % group_));
    for (const float angle : angles) {
        cos_.push_back(static_cast<float>(std::cos(static_cast<double>(angle))));
        sin_.push_back(static_cast<float>(std::sin(static_cast<double>(angle))));
    }
    number_places(columns);
    grain = slot.quantizes_groups(group_) ? Grain::rows : Grain::tokens;
}

// Where each rotation finds its pairs, and the end its columns, in the order in which the rotation before leaves them.
void Rotate::number_places(const std::vector<std::size_t>& columns) {
    const std::size_t width = scales_.size(), half = group_ / 2;
    places_.resize((rotations_ + 1) * width);
    for (std::size_t group = 0; group < width; group += group_) {
        std::vector<std::uint8_t> place(group_), next(group_);
        for (std::size_t c = 0; c < group_; ++c) place[c] = static_cast<std::uint8_t>(c);
        for (std::size_t k = 0; k < rotations_; ++k) {
            const std::size_t at = k * width + group;
            for (std::size_t i = 0; i < group_; ++i) {
                const std::size_t to = i % 2 * half + i / 2, column = columns[at + i] - group;
                places_[at + to] = place[column];
                next[column] = static_cast<std::uint8_t>(to);
            }
            place = next;
        }
        std::copy(place.begin(), place.end(),
                  places_.begin() + static_cast<std::ptrdiff_t>(rotations_ * width + group));
    }
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
            rotate(run, t, std::min(kTileTokens, last - t), 0, groups());
        return;
    }
    for (std::size_t i = first; i < last; ++i) {
        const std::size_t t = i / groups() * kTileTokens, group = i % groups();
        const std::size_t n_tokens = std::min(kTileTokens, n - t);
        rotate(run, t, n_tokens, group, group + 1);
        for (std::size_t token = t; token < t + n_tokens; ++token)
            run.slots[out_].quantize(run.kernels, token, group * group_, (group + 1) * group_);
    }
}

void Rotate::rotate(Run& run, std::size_t token, std::size_t n_tokens, std::size_t first, std::size_t last) const {
    const Slot &x = run.slots[x_], &out = run.slots[out_];
    run.kernels.rotate({rotations_, groups(), group_, first, last, scales_.data(), cos_.data(), sin_.data(),
                        tile_pairs_.data(), places_.data(), x.row(token), x.stride, out.row(token), out.stride,
                        n_tokens});
}

std::size_t Rotate::bytes() const {
    return sizeof(float) * (scales_.size() + cos_.size() + sin_.size()) + places_.size();
}

}  // namespace sterna

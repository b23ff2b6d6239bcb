// Adapters: low-rank updates that a forward pass adds to the products of matrices, y = W x + factor * B (A x) (LoRA,
// arXiv 2106.09685). A multiplies the float row that W's quantiser takes. Sequences of a batch may have different
// adapters, or several with a scale each; all sums run in an order that follows from the shapes of a row's own
// adapters.
#pragma once

#include <map>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "../kernels/kernels.hpp"
#include "../platform/memory.hpp"

namespace sterna {

// A matrix that adapters may update.
struct Site {
    std::string name;
    std::size_t out_features, in_features;
};

// Row-major float32 matrices a [rank, in_features] and b [out_features, rank].
struct Update {
    std::span<const float> a, b;
    std::size_t rank;
    float factor;
};

// A and B, each divided by a power of two that brings its largest value to [1, 2); `factor` makes up for it.
struct LowRank {
    std::size_t rank = 0;  // 0: no update
    float factor = 0;
    Encoding encoding = Encoding::f32;
    std::size_t a_stride = 0;                              // bytes
    const std::uint8_t *a = nullptr, *b_panels = nullptr;  // [rank, a_stride]; as LowRankTask has them
};

// In float32 up to kPrecise bytes, which stay in the caches of a processor; a larger adapter is kept in float16,
// because every token reads all of it from memory. All matrices lie in huge pages, in the order of the sites.
class Adapter {
public:
    static constexpr std::size_t kPrecise = std::size_t{32} << 20;

    // Throws std::invalid_argument where a name is not among the sites, or shapes or numbers do not fit.
    Adapter(const std::map<std::string, Update>& updates, std::span<const Site> sites, const Kernels& kernels);
    Adapter(Adapter&&) = default;

    const LowRank& at(std::size_t site) const { return of_site_[site]; }
    bool is_of(std::span<const Site> sites) const { return sites.data() == sites_; }
    std::size_t max_rank() const { return max_rank_; }

private:
    const Site* sites_;  // of the model that it was made for
    Pages memory_;
    std::vector<LowRank> of_site_;
    std::size_t max_rank_ = 0;
};

// The adapters of a sequence, each with its scale, in the order in which they are added.
using Mix = std::vector<std::pair<const Adapter*, float>>;

// Consecutive rows with the same adapters.
struct AdaptedRows {
    std::size_t first, count;
    const Mix* mix;
};

// The rows that have adapters, in order. ids[i]: 0 for none, or the number of the mix of the rows ends[i] ..
// ends[i + 1] - 1, counted from 1. Throws std::invalid_argument for ids out of range, and for adapters that were made
// for other sites.
std::vector<AdaptedRows> adapted_rows(std::span<const std::int32_t> ids, std::span<const std::int32_t> ends,
                                      std::span<const Mix> mixes, std::span<const Site> sites);

// The work of one site. `hidden` has a row of `width` floats for each row of x, where width >= widest(adapted).
struct SiteWork {
    const Kernels& kernels;
    std::span<const AdaptedRows> adapted;
    std::size_t site;
    float* hidden;
    std::size_t width;

    static constexpr std::size_t kRanks = 4, kColumns = 256;  // of an item

    bool any() const;
    std::size_t down_items() const { return (width + kRanks - 1) / kRanks; }
    static std::size_t up_items(std::size_t out_features) { return (out_features + kColumns - 1) / kColumns; }

    // hidden = scale * factor * A x, for ranks kRanks * item .. kRanks * (item + 1) - 1.
    void down(std::size_t item, const FloatActivations& x) const;
    // out += B hidden, for columns kColumns * item .. kColumns * (item + 1) - 1.
    void up(std::size_t item, std::size_t out_features, const Products& out) const;
};

// The most values that a row has between A and B.
std::size_t widest(std::span<const AdaptedRows> adapted);

}  // namespace sterna

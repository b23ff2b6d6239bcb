// The steps that add adapters to the products of a group of matrices: `AdaptDown` multiplies by A beside the matrices
// themselves, `AdaptUp` by B after them. They have no items in a batch without adapters.
#pragma once

#include <algorithm>
#include <utility>

#include "step.hpp"

namespace sterna {

// A matrix of the group, and the slots that it reads and writes.
struct AdaptedMatrix {
    std::size_t site, x, out;
};

class AdaptStep : public Step {
public:
    explicit AdaptStep(std::vector<AdaptedMatrix> matrices) : matrices_(std::move(matrices)) { grain = Grain::rows; }

    std::size_t items(const Run& run) const final {
        std::size_t items = 0;
        for (std::size_t i = 0; i < matrices_.size(); ++i) items += count(run, i);
        return items;
    }
    void run(Run& run, std::size_t, std::size_t first, std::size_t last) const final {
        std::size_t begin = 0;  // items are counted through all matrices in order
        for (std::size_t i = 0; i < matrices_.size(); ++i) {
            const std::size_t end = begin + count(run, i);
            for (std::size_t k = std::max(first, begin); k < std::min(last, end); ++k)
                compute(run, work(run, i), matrices_[i], k - begin);
            begin = end;
        }
    }

private:
    // The items of a matrix that some adapter of the batch updates, and the work of one of them.
    virtual std::size_t count(const SiteWork& work, std::size_t columns) const = 0;
    virtual void compute(const Run& run, const SiteWork& work, const AdaptedMatrix& matrix, std::size_t item) const = 0;

    SiteWork work(const Run& run, std::size_t i) const {
        float* hidden = run.low_rank.get() + i * run.batch.size() * run.low_rank_width;
        return {run.kernels, run.adapted, matrices_[i].site, hidden, run.low_rank_width};
    }
    std::size_t count(const Run& run, std::size_t i) const {
        const SiteWork site = work(run, i);
        return site.any() ? count(site, run.slots[matrices_[i].out].width) : 0;
    }

    std::vector<AdaptedMatrix> matrices_;
};

// It may run beside the matrices, for it writes no slot.
class AdaptDown final : public AdaptStep {
public:
    explicit AdaptDown(const std::vector<AdaptedMatrix>& matrices) : AdaptStep(matrices) {
        for (const AdaptedMatrix& matrix : matrices) reads.push_back(matrix.x);
    }

private:
    std::size_t count(const SiteWork& work, std::size_t) const override { return work.down_items(); }
    void compute(const Run& run, const SiteWork& work, const AdaptedMatrix& matrix, std::size_t item) const override {
        work.down(item, {run.slots[matrix.x].values, run.slots[matrix.x].stride});
    }
};

// It writes what the matrices have written, so a barrier lies between it and them, and `AdaptDown` beside them.
class AdaptUp final : public AdaptStep {
public:
    explicit AdaptUp(const std::vector<AdaptedMatrix>& matrices) : AdaptStep(matrices) {
        for (const AdaptedMatrix& matrix : matrices) writes.push_back(matrix.out);
        reads = writes;
    }

private:
    std::size_t count(const SiteWork&, std::size_t columns) const override { return SiteWork::up_items(columns); }
    void compute(const Run& run, const SiteWork& work, const AdaptedMatrix& matrix, std::size_t item) const override {
        const Slot& out = run.slots[matrix.out];
        work.up(item, out.width, {out.values, out.stride});
    }
};

}  // namespace sterna

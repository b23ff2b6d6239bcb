#include "step_list.hpp"

#include <algorithm>
#include <utility>

#include "token_steps.hpp"

namespace sterna {
namespace {

class Multiply final : public Step {
public:
    Multiply(std::unique_ptr<Linear> matrix, std::size_t x, std::size_t out)
        : matrix_(std::move(matrix)), x_(x), out_(out) {
        grain = Grain::rows;
        reads = {x};
        writes = {out};
    }
    std::unique_ptr<Linear>* matrix() override { return &matrix_; }
    bool multiplies() const override { return true; }
    std::size_t items(const Run& run) const override { return division(run).items; }
    std::size_t chunk(const Run& run) const override { return division(run).chunk; }
    void run(Run& run, std::size_t thread, std::size_t first, std::size_t last) const override {
        matrix_->multiply(run.slots[x_].activations(matrix_->form(), run.batch.size()), division(run), first, last,
                          run.scratch[thread].get(), {run.slots[out_].values, run.slots[out_].stride});
    }
    std::size_t scratch(const Kernels&) const override { return matrix_->scratch(); }
    std::size_t multiply_adds() const override { return matrix_->out_features() * matrix_->in_features(); }
    std::size_t bytes() const override { return matrix_->memory_bytes(); }

private:
    Division division(const Run& run) const { return matrix_->division(run.batch.size(), run.n_threads); }

    std::unique_ptr<Linear> matrix_;
    std::size_t x_, out_;
};

bool has(const std::vector<std::size_t>& slots, std::size_t slot) {
    return std::find(slots.begin(), slots.end(), slot) != slots.end();
}

}  // namespace

void StepList::add(std::unique_ptr<Step> step, const std::string& part) {
    if (!joins_adapted(*step)) add_adapters();
    const std::vector<std::size_t> written = step->writes;
    append(std::move(step), part);
    for (const std::size_t slot : written)
        if (!slots_[slot].copies.empty()) append(std::make_unique<Quantize>(slot), "quantize");
}

void StepList::add_quantizing(std::unique_ptr<Step> step, const std::string& part) {
    append(std::move(step), part);
}

void StepList::add_matrix(const std::string& name, std::unique_ptr<Linear> matrix, std::size_t x, std::size_t out) {
    const std::size_t adapted = site(name, *matrix);
    auto multiply = std::make_unique<Multiply>(std::move(matrix), x, out);
    if (!joins_adapted(*multiply)) add_adapters();
    if (adapted_.empty()) first_adapted_ = steps_.size();
    add(std::move(multiply), "matrices");
    adapted_.push_back({adapted, x, out});
}

CompiledPlan StepList::finish() {
    add_adapters();
    drop_unread_copies();
    return {std::move(steps_), {}, std::move(sites_), widest_group_};
}

void StepList::append(std::unique_ptr<Step> step, const std::string& part) {
    step->part = part;
    steps_.push_back(std::move(step));
}

bool StepList::joins_adapted(const Step& step) const {
    return step.multiplies() && std::none_of(adapted_.begin(), adapted_.end(), [&](const AdaptedMatrix& matrix) {
               return has(step.reads, matrix.out) || has(step.writes, matrix.out) || has(step.writes, matrix.x);
           });
}

void StepList::add_adapters() {
    const std::vector<AdaptedMatrix> matrices = std::exchange(adapted_, {});
    if (matrices.empty()) return;
    widest_group_ = std::max(widest_group_, matrices.size());
    // A first: threads that have finished with it share what is left of the matrices.
    auto down = std::make_unique<AdaptDown>(matrices);
    down->part = "adapters";
    steps_.insert(steps_.begin() + static_cast<std::ptrdiff_t>(first_adapted_), std::move(down));
    add(std::make_unique<AdaptUp>(matrices), "adapters");
}

std::size_t StepList::site(const std::string& name, const Linear& matrix) {
    const auto found =
        std::find_if(sites_.begin(), sites_.end(), [&](const Site& known) { return known.name == name; });
    if (found != sites_.end()) return static_cast<std::size_t>(found - sites_.begin());
    sites_.push_back({name, matrix.out_features(), matrix.in_features()});
    return sites_.size() - 1;
}

void StepList::drop_unread_copies() {
    std::vector<bool> read_later(slots_.size(), false);
    for (std::size_t i = steps_.size(); i-- > 0;) {
        const Step& step = *steps_[i];
        if (const auto* copy = dynamic_cast<const Quantize*>(&step)) {
            if (!read_later[copy->x]) steps_[i] = nullptr;
            continue;
        }
        for (std::size_t slot = 0; slot < slots_.size(); ++slot) {
            if (has(step.writes, slot)) read_later[slot] = false;
            if (step.multiplies() && has(step.reads, slot)) read_later[slot] = true;
        }
    }
    std::erase(steps_, nullptr);
}

}  // namespace sterna

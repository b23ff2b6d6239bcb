// The steps of a plan while it is compiled. Between those of its operations it puts what the plan does not say: the
// quantisation of slots, and the adapters of matrices.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "adapter_steps.hpp"
#include "compile.hpp"

namespace sterna {

class StepList {
public:
    explicit StepList(const std::vector<Slot>& slots) : slots_(slots) {}

    // Adds a step, of this part of a pass. A slot that feeds integer kernels is quantised as soon as it is written.
    void add(std::unique_ptr<Step> step, const std::string& part);

    // Adds a rotation that quantises what it writes. It may come between matrices that await their adapters, because
    // the matrices that read rotated slots have none.
    void add_quantizing(std::unique_ptr<Step> step, const std::string& part);

    // Adds out = matrix * x. The adapters of matrices that can share a phase are added together.
    void add_matrix(const std::string& name, std::unique_ptr<Linear> matrix, std::size_t x, std::size_t out);

    // Ends the list. The compiled plan has everything but its `groups`.
    CompiledPlan finish();

private:
    void append(std::unique_ptr<Step> step, const std::string& part);
    // Whether a step can come between the matrices that await their adapters and these: only another matrix, which
    // neither reads what they write nor writes what the adapters read.
    bool joins_adapted(const Step& step) const;
    // Adds the steps of adapters for the matrices since the last call.
    void add_adapters();
    std::size_t site(const std::string& name, const Linear& matrix);
    // Removes the quantisations that no matrix reads before the slot is written again.
    void drop_unread_copies();

    const std::vector<Slot>& slots_;
    std::vector<std::unique_ptr<Step>> steps_;
    std::vector<Site> sites_;
    std::vector<AdaptedMatrix> adapted_;  // whose adapters are still to be added
    std::size_t first_adapted_ = 0;       // the step of the first of them
    std::size_t widest_group_ = 0;
};

}  // namespace sterna

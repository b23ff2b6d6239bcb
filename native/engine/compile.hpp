// Compiles a plan to steps.
#pragma once

#include <memory>
#include <vector>

#include "plan.hpp"
#include "step.hpp"

namespace sterna {

struct CompiledPlan {
    std::vector<std::unique_ptr<Step>> steps;
    std::vector<std::size_t> groups;  // query heads that share a kv head, of each cache group
    std::vector<Site> sites;          // the matrices of linear operations, each once
    std::size_t widest_group = 0;     // the most matrices whose adapters are computed together
};

// Compiles the operations of the plan in order. Marks the slots that need quantised copies, and adds slots for rotary
// angles. Throws std::invalid_argument where an operation's shapes, names or numbers do not fit.
CompiledPlan compile_plan(const Plan& plan, const Tensors& tensors, const Kernels& kernels, std::vector<Slot>& slots);

}  // namespace sterna

// A step that treats every token by itself.
#pragma once

#include "step.hpp"

namespace sterna {

// Derived classes define token(run, t).
template <class Derived>
class TokenStep : public Step {
public:
    std::size_t items(const Run& run) const final { return run.batch.size(); }
    void run(Run& run, std::size_t, std::size_t first, std::size_t last) const final {
        for (std::size_t t = first; t < last; ++t) static_cast<const Derived*>(this)->token(run, t);
    }
};

}  // namespace sterna

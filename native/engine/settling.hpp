// Settles the matrices of a model in huge pages, from which a processor reads faster than from a mapped file, and where
// they may lie in another order. A matrix is multiplied from where it was until it is settled.
#pragma once

#include <chrono>
#include <memory>
#include <vector>

#include "../platform/memory.hpp"
#include "linear/linear.hpp"

namespace sterna {

class Settling {
public:
    using Clock = std::chrono::steady_clock;

    Settling() = default;

    // Takes one block for all matrices, since most fill no huge page by themselves: for those whose route repacks them
    // and, unless `in_place`, those that can be repacked or whose bytes are to be read once. `matrices`: where their
    // owner keeps them. Throws std::bad_alloc.
    Settling(const std::vector<std::unique_ptr<Linear>*>& matrices, bool in_place);

    // Settles matrices, one after the other by all threads, until `time` is over; those first that are repacked for
    // each product before. Pages of a mapped file are dropped as soon as they were read, so that only one matrix is in
    // memory twice. No matrix may be in use meanwhile.
    void go_on(std::size_t n_threads, Clock::duration time);
    bool done() const { return next_ == places_.size(); }

private:
    struct Place {
        std::unique_ptr<Linear>* matrix;
        std::unique_ptr<Linear> repacked;  // replaces the matrix; none: it stays as it is, and its bytes are copied
        std::size_t offset;
    };

    std::vector<Place> places_;
    std::size_t next_ = 0, part_ = 0;  // the matrix that settles, and the part of it that is next
    Pages memory_;
};

}  // namespace sterna

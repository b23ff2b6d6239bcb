#include "settling.hpp"

#include <utility>

#include "thread_pool.hpp"

namespace sterna {

Settling::Settling(const std::vector<std::unique_ptr<Linear>*>& matrices, bool in_place) {
    constexpr std::size_t kLine = 64;
    std::size_t bytes = 0;
    const auto add = [&](std::unique_ptr<Linear>* matrix, std::unique_ptr<Linear> repacked) {
        const Linear& settled = repacked == nullptr ? **matrix : *repacked;
        const std::size_t size = parts(settled.memory_bytes(), kLine) * kLine;
        places_.push_back({matrix, std::move(repacked), bytes});
        bytes += size;
    };
    for (std::unique_ptr<Linear>* matrix : matrices)
        if ((*matrix)->repacks()) add(matrix, nullptr);
    urgent_ = places_.size();
    if (!in_place)
        for (std::unique_ptr<Linear>* matrix : matrices) {
            if ((*matrix)->repacks()) continue;
            std::unique_ptr<Linear> repacked = (*matrix)->repacked();
            if (repacked != nullptr || (*matrix)->read_once()) add(matrix, std::move(repacked));
        }
    memory_ = HugePages(bytes);
}

void Settling::go_on(std::size_t n_threads, Clock::duration time) {
    if (done()) return;
    const auto begin = Clock::now();
    for (; next_ < places_.size() && (next_ < urgent_ || Clock::now() - begin < time); ++next_) {
        Place& place = places_[next_];
        if (place.repacked != nullptr) std::swap(*place.matrix, place.repacked);
        std::uint8_t* memory = memory_.get() + place.offset;
        Linear& matrix = **place.matrix;
        ThreadPool::instance().run(n_threads,
                                   [&](std::size_t thread, Barrier&) { matrix.fill(memory, thread, n_threads); });
        matrix.settle(memory);
        place.repacked.reset();
    }
}

}  // namespace sterna

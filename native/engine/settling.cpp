#include "settling.hpp"

#include <algorithm>
#include <utility>

#include "thread_pool.hpp"

namespace sterna {
namespace {

constexpr std::size_t kPart = 16 << 20;  // bytes that settle before the time is looked at again

}  // namespace

Settling::Settling(const std::vector<std::unique_ptr<Linear>*>& matrices, bool in_place) {
    constexpr std::size_t kLine = 64;
    std::size_t bytes = 0;
    for (std::unique_ptr<Linear>* matrix : matrices) {
        std::unique_ptr<Linear> repacked = in_place ? nullptr : (*matrix)->repacked();
        const bool copied = !in_place && (*matrix)->read_once();
        if (repacked == nullptr && !copied && !(*matrix)->repacks()) continue;
        const std::size_t size = (repacked == nullptr ? *matrix : repacked)->memory_bytes();
        places_.push_back({matrix, std::move(repacked), bytes});
        bytes += parts(size, kLine) * kLine;
    }
    std::stable_partition(places_.begin(), places_.end(),
                          [](const Place& place) { return (*place.matrix)->repacks(); });
    memory_ = Pages(bytes, Pages::Size::kHuge);
    memory_.provide(bytes);
}

void Settling::go_on(std::size_t n_threads, Clock::duration time) {
    if (done()) return;
    const auto begin = Clock::now();
    while (!done() && Clock::now() - begin < time) {
        Place& place = places_[next_];
        std::uint8_t* memory = memory_.get() + place.offset;
        const Linear& filled = place.repacked == nullptr ? **place.matrix : *place.repacked;
        const std::size_t n_parts = filled.repacks() ? parts(filled.memory_bytes(), kPart) : 1;
        ThreadPool::instance().run(
            n_threads, [&](std::size_t thread, Barrier&) { filled.fill(memory, thread, n_threads, part_, n_parts); });
        if (++part_ < n_parts) continue;
        if (place.repacked != nullptr) *place.matrix = std::move(place.repacked);
        (*place.matrix)->settle(memory);
        ++next_;
        part_ = 0;
    }
}

}  // namespace sterna

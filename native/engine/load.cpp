#include "load.hpp"

#include "thread_pool.hpp"

namespace sterna {

HugePages load(const std::vector<Linear*>& matrices, bool in_place, std::size_t n_threads) {
    constexpr std::size_t kLine = 64;
    struct Place {
        Linear* matrix;
        std::size_t offset;
    };
    std::vector<Place> places;
    std::size_t bytes = 0;
    for (Linear* matrix : matrices) {
        if (!matrix->repacks() && (in_place || !matrix->mapped())) continue;
        places.push_back({matrix, bytes});
        bytes += parts(matrix->memory_bytes(), kLine) * kLine;
    }
    HugePages memory(bytes);
    ThreadPool::instance().run(n_threads, [&](std::size_t thread, Barrier& barrier) {
        for (std::size_t i = 0; i < places.size(); ++i) {
            std::uint8_t* place = memory.get() + places[i].offset;
            places[i].matrix->fill(place, thread, n_threads);
            barrier.wait(n_threads);
            if (i % n_threads == thread) places[i].matrix->settle(place);
        }
    });
    return memory;
}

}  // namespace sterna

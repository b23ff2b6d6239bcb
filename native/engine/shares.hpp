// Work stealing: each thread has an equal, contiguous share of the items and takes it in chunks, in order; a thread
// that has finished takes chunks of the others' shares. So a thread reads one stream of memory as long as all keep
// pace, and a thread that lost its processor for a while, or has a slow one, does not hold up the others.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace sterna {

class Shares {
public:
    explicit Shares(std::size_t n_threads) : taken_(n_threads) {}

    // Each thread resets its own share. A barrier must separate this from the next use.
    void reset(std::size_t thread) { taken_[thread].chunks.store(0, std::memory_order_relaxed); }

    // Calls work(first, last) for chunks of items 0 .. n - 1 until none are left. Every thread calls this with the same
    // `n` and `chunk`.
    template <class Work>
    void each(std::size_t thread, std::size_t n, std::size_t chunk, const Work& work) {
        const std::size_t n_threads = taken_.size();
        for (std::size_t i = 0; i < n_threads; ++i) {
            const std::size_t owner = (thread + i) % n_threads;
            const std::size_t begin = n * owner / n_threads, end = n * (owner + 1) / n_threads;
            for (;;) {
                const std::size_t first = begin + chunk * taken_[owner].chunks.fetch_add(1, std::memory_order_relaxed);
                if (first >= end) break;
                work(first, std::min(first + chunk, end));
            }
        }
    }

private:
    struct alignas(64) Taken {
        std::atomic<std::uint32_t> chunks{0};
    };
    std::vector<Taken> taken_;
};

}  // namespace sterna

#include "ceilings.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstring>
#include <thread>
#include <vector>

#include "../platform/memory.hpp"
#include "thread_pool.hpp"

namespace sterna {
namespace {

// Seconds that all threads together need for work(thread): the best of a few passes, since a ceiling is what the
// machine does when nothing disturbs it.
template <class Work>
double best_seconds(std::size_t n_threads, const Work& work) {
    using Clock = std::chrono::steady_clock;
    double best = 1e30;
    for (int pass = 0; pass < 4; ++pass) {
        Clock::time_point begin, end;
        ThreadPool::instance().run(n_threads, [&](std::size_t thread, Barrier& barrier) {
            barrier.wait(n_threads);
            if (thread == 0) begin = Clock::now();
            work(thread);
            barrier.wait(n_threads);
            if (thread == 0) end = Clock::now();
        });
        best = std::min(best, std::chrono::duration<double>(end - begin).count());
    }
    return best;
}

}  // namespace

double read_bandwidth(const Kernels& kernels, std::size_t bytes, std::size_t n_threads) {
    const std::size_t share = bytes / n_threads / 4096 * 4096;
    const std::size_t size = share * n_threads + 8192;  // room for the prefetch past the end
    Pages buffer(size, Pages::Size::kHuge);             // as for weights in the best case
    buffer.provide(size);
    std::memset(buffer.get(), 0, size);
    std::atomic<std::uint64_t> sink{0};
    const double seconds = best_seconds(
        n_threads, [&](std::size_t thread) { sink += kernels.read_all(buffer.get() + thread * share, share); });
    return sink == 0 ? static_cast<double>(share * n_threads) / seconds : 0.0;
}

double multiply_add_rate(const Kernels& kernels, std::size_t n_threads) {
    constexpr std::size_t kRounds = 10'000'000;
    std::vector<std::uint64_t> counts(n_threads);
    const double seconds =
        best_seconds(n_threads, [&](std::size_t thread) { counts[thread] = kernels.multiply_add(kRounds); });
    std::uint64_t total = 0;
    for (const std::uint64_t count : counts) total += count;
    return static_cast<double>(total) / seconds;
}

double line_latency() {
    constexpr std::uint32_t kRounds = 2000, kSpins = 1000;
    using Clock = std::chrono::steady_clock;
    std::array<double, 9> nanoseconds;
    for (double& result : nanoseconds) {
        alignas(64) std::atomic<std::uint32_t> turns{0};  // even: it is thread 0's turn
        Clock::time_point begin;
        ThreadPool::instance().run(2, [&](std::size_t thread, Barrier& barrier) {
            barrier.wait(2);
            if (thread == 0) begin = Clock::now();
            for (std::uint32_t turn = static_cast<std::uint32_t>(thread); turn < 2 * kRounds; turn += 2) {
                for (std::uint32_t spin = 1; turns.load(std::memory_order_acquire) != turn; ++spin)
                    if (spin % kSpins == 0) std::this_thread::yield();  // the other thread may wait for this processor
                turns.store(turn + 1, std::memory_order_release);
            }
        });
        result = std::chrono::duration<double, std::nano>(Clock::now() - begin).count() / (2 * kRounds);
    }
    std::nth_element(nanoseconds.begin(), nanoseconds.begin() + nanoseconds.size() / 2, nanoseconds.end());
    return nanoseconds[nanoseconds.size() / 2];
}

}  // namespace sterna

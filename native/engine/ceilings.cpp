#include "ceilings.hpp"

#include <atomic>
#include <chrono>
#include <vector>

#include "thread_pool.hpp"
#include "workspace.hpp"

namespace sterna {
namespace {

// Runs work(thread) on all threads at once; seconds until the last is done.
template <class Work>
double timed(std::size_t n_threads, const Work& work) {
    using Clock = std::chrono::steady_clock;
    Clock::time_point begin, end;
    ThreadPool::instance().run(n_threads, [&](std::size_t thread, Barrier& barrier) {
        barrier.wait(n_threads);
        if (thread == 0) begin = Clock::now();
        work(thread);
        barrier.wait(n_threads);
        if (thread == 0) end = Clock::now();
    });
    return std::chrono::duration<double>(end - begin).count();
}

}  // namespace

double read_bandwidth(const Kernels& kernels, std::size_t bytes, std::size_t n_threads) {
    const std::size_t share = bytes / n_threads / 4096 * 4096;
    const Buffer<std::uint8_t> buffer(share * n_threads + 8192);  // room for the prefetch past the end
    std::atomic<std::uint64_t> sink{1};
    for (std::size_t i = 0; i < share * n_threads; i += 4096) buffer.get()[i] = 1;  // a page of its own each
    const double seconds =
        timed(n_threads, [&](std::size_t thread) { sink += kernels.read_all(buffer.get() + thread * share, share); });
    return sink == 0 ? 0.0 : static_cast<double>(share * n_threads) / seconds;
}

double multiply_add_rate(const Kernels& kernels, std::size_t n_threads) {
    constexpr std::size_t kRounds = 10'000'000;
    std::atomic<std::uint64_t> total{0};
    const double seconds = timed(n_threads, [&](std::size_t) { total += kernels.multiply_add(kRounds); });
    return static_cast<double>(total) / seconds;
}

}  // namespace sterna

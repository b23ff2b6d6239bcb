#include "thread_pool.hpp"

#include <algorithm>
#include <utility>

#include "../platform/system.hpp"

namespace sterna {
namespace {

// About 50 microseconds on today's processors: longer than Python takes between two tokens of a small model, short
// enough that a parked pool leaves its cores to others.
constexpr int kSpins = 2000;

// Where threads outnumber processors, a thread that spins keeps one from running that is waited for.
int spins(std::size_t n_threads) {
    static const std::size_t processors = std::max(std::thread::hardware_concurrency(), 1U);
    return n_threads <= processors ? kSpins : 0;
}

inline void relax() {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
}

template <class T>
void spin_then_park(const std::atomic<T>& value, T old, std::size_t n_threads) {
    for (int spin = 0; spin < spins(n_threads); ++spin) {
        if (value.load(std::memory_order_acquire) != old) return;
        relax();
    }
    value.wait(old, std::memory_order_acquire);
}

}  // namespace

void Barrier::wait(std::size_t n) {
    if (n == 1) return;
    const std::uint32_t round = round_.load(std::memory_order_relaxed);
    if (arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 == n) {
        arrived_.store(0, std::memory_order_relaxed);
        round_.fetch_add(1, std::memory_order_release);
        round_.notify_all();
    } else {
        spin_then_park(round_, round, n);
    }
}

ThreadPool& ThreadPool::instance() {
    // Never destroyed: its threads are parked when the process ends, and a forked child must not join its parent's.
    struct Owner {
        ThreadPool* pool;
        std::uint64_t process;
    };
    static std::atomic<Owner*> current{nullptr};
    Owner* owner = current.load(std::memory_order_acquire);
    while (owner == nullptr || owner->process != process_id()) {
        auto* fresh = new Owner{new ThreadPool, process_id()};
        if (current.compare_exchange_strong(owner, fresh, std::memory_order_acq_rel)) return *fresh->pool;
        delete fresh->pool;
        delete fresh;
    }
    return *owner->pool;
}

void ThreadPool::run(std::size_t n, const std::function<void(std::size_t, Barrier&)>& work) {
    const std::lock_guard lock(mutex_);
    grow(n);
    work_ = &work;
    n_threads_ = n;
    running_.store(static_cast<std::uint32_t>(n - 1), std::memory_order_relaxed);
    for (std::size_t i = 0; i + 1 < n; ++i) {
        workers_[i]->region.fetch_add(1, std::memory_order_release);
        workers_[i]->region.notify_one();
    }
    attempt(0, work);
    for (std::uint32_t left = running_.load(std::memory_order_acquire); left != 0;
         left = running_.load(std::memory_order_acquire))
        spin_then_park(running_, left, n);
    if (error_) std::rethrow_exception(std::exchange(error_, nullptr));
}

void ThreadPool::attempt(std::size_t thread, const std::function<void(std::size_t, Barrier&)>& work) {
    try {
        work(thread, barrier_);
    } catch (...) {
        const std::lock_guard lock(error_mutex_);
        if (!error_) error_ = std::current_exception();
    }
}

void ThreadPool::grow(std::size_t n) {
    while (workers_.size() + 1 < n) {
        Worker& worker = *workers_.emplace_back(std::make_unique<Worker>());
        try {
            worker.thread = std::jthread([this, thread = workers_.size(), &worker] { serve(thread, worker.region); });
        } catch (...) {  // the system refuses a thread
            workers_.pop_back();
            throw;
        }
    }
}

void ThreadPool::serve(std::size_t thread, const std::atomic<std::uint32_t>& region) {
    for (std::uint32_t seen = 0, n_threads = 1;;) {
        spin_then_park(region, seen, n_threads);
        seen = region.load(std::memory_order_acquire);
        n_threads = static_cast<std::uint32_t>(n_threads_);
        attempt(thread, *work_);
        if (running_.fetch_sub(1, std::memory_order_acq_rel) == 1) running_.notify_one();
    }
}

}  // namespace sterna

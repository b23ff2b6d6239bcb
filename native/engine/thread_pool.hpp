// One pool of persistent threads per process. A parallel region wakes them once; inside it, barriers separate phases.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

namespace sterna {

// Lets n threads wait for each other: a short spin, then a wait that leaves the processor to others.
class Barrier {
public:
    void wait(std::size_t n);

private:
    std::atomic<std::uint32_t> arrived_{0};
    std::atomic<std::uint32_t> round_{0};
};

class ThreadPool {
public:
    // The pool of this process. A forked child, whose parent's threads do not exist in it, gets a new one.
    static ThreadPool& instance();

    // Runs work(thread, barrier) on n threads, the caller being thread 0, and returns when all are done. Concurrent
    // calls run one after the other. An exception that `work` throws is rethrown here when all threads are done; work
    // that waits at the barrier must not throw.
    void run(std::size_t n, const std::function<void(std::size_t thread, Barrier& barrier)>& work);

private:
    // A thread waits for its own counter of regions, so that a region wakes none but the threads that it needs.
    struct alignas(64) Worker {
        std::atomic<std::uint32_t> region{0};
        std::jthread thread;
    };

    void attempt(std::size_t thread, const std::function<void(std::size_t, Barrier&)>& work);
    void serve(std::size_t thread, const std::atomic<std::uint32_t>& region);
    void grow(std::size_t n);

    std::mutex mutex_;
    std::vector<std::unique_ptr<Worker>> workers_;  // worker i is thread i + 1
    std::atomic<std::uint32_t> running_{0};         // workers that have not ended their part of the region
    std::size_t n_threads_ = 1;                     // of the region
    const std::function<void(std::size_t, Barrier&)>* work_ = nullptr;
    std::mutex error_mutex_;
    std::exception_ptr error_;
    Barrier barrier_;
};

}  // namespace sterna

// One pool of persistent threads per process. A parallel region wakes them once; inside it, phases are parted by a
// barrier.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace sterna {

// Lets n threads wait for each other: a short spin, then a futex, so that a busy machine keeps going.
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

    // Runs work(thread, barrier) on n threads, the caller being thread 0, and returns when all are done. Regions asked
    // for at the same time queue up. What `work` throws is thrown here when all are done; work that waits at the
    // barrier must not throw.
    void run(std::size_t n, const std::function<void(std::size_t thread, Barrier& barrier)>& work);

private:
    void attempt(std::size_t thread, const std::function<void(std::size_t, Barrier&)>& work);
    void worker(std::size_t thread);
    void grow(std::size_t n);

    std::mutex mutex_;
    std::vector<std::jthread> threads_;
    std::atomic<std::uint32_t> region_{0};
    std::atomic<std::uint32_t> running_{0};
    std::size_t wanted_ = 0;
    const std::function<void(std::size_t, Barrier&)>* work_ = nullptr;
    std::mutex error_mutex_;
    std::exception_ptr error_;
    Barrier barrier_;
};

}  // namespace sterna

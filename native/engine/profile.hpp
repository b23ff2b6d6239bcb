// Where the time of passes goes. A pass is timed only where a Profile is given; without one nothing is measured.
#pragma once

#include <chrono>
#include <cstddef>
#include <map>
#include <string>
#include <vector>

#include "thread_pool.hpp"

namespace sterna {

// One pass: a forward pass with all that follows it, until the next one begins.
struct PassTimes {
    std::size_t tokens = 0, sequences = 0;
    // By part, of those that had work, each an average over the threads that ran, so that they add up to the time of
    // the pass. Beside the parts of the steps (Step::part) and of the head: "barriers", in which threads wait for each
    // other, "setup", in which one thread prepares what all will do, and "python", the time between two calls of the
    // engine.
    std::map<std::string, double> seconds;
};

struct Profile {
    std::vector<PassTimes> passes;
    // Bytes that a pass reads of the layers' matrices and of the head, as they lie in memory, and multiply-adds that
    // the layers' matrices take for each token.
    std::size_t matrix_bytes = 0, head_bytes = 0, multiply_adds = 0;
    std::chrono::steady_clock::time_point last_call = {};  // when it ended
};

// One thread's times of the steps of a parallel region.
class alignas(64) StepTimer {
public:
    explicit StepTimer(std::size_t n_steps) : seconds_(n_steps) {}

    bool measures() const { return !seconds_.empty(); }
    void start() {
        if (measures()) last_ = std::chrono::steady_clock::now();
    }
    // Adds the time since the last call of `start` or `stop` to a step.
    void stop(std::size_t step) {
        if (!measures()) return;
        const auto now = std::chrono::steady_clock::now();
        seconds_[step] += std::chrono::duration<double>(now - last_).count();
        last_ = now;
    }
    const std::vector<double>& seconds() const { return seconds_; }

private:
    std::vector<double> seconds_;
    std::chrono::steady_clock::time_point last_ = {};
};

// Times one call of the engine, from its construction to its end, as a part of the profile's last pass.
class CallTimer {
public:
    explicit CallTimer(Profile* profile);
    CallTimer(const CallTimer&) = delete;
    CallTimer& operator=(const CallTimer&) = delete;
    ~CallTimer();

    // Runs work(thread, barrier, timer) on the pool's threads. parts[i]: the part that step i of the timers belongs to.
    template <class Work>
    void run(std::size_t n_threads, const std::vector<std::string>& parts, const Work& work) {
        if (profile_ != nullptr) add("setup");
        std::vector<StepTimer> timers(n_threads, StepTimer(profile_ == nullptr ? 0 : parts.size()));
        if (profile_ != nullptr) mark_ = std::chrono::steady_clock::now();
        ThreadPool::instance().run(
            n_threads, [&](std::size_t thread, Barrier& barrier) { work(thread, barrier, timers[thread]); });
        if (profile_ != nullptr) collect(timers, parts);
    }

private:
    void add(const std::string& part);  // the time since mark_
    void collect(const std::vector<StepTimer>& timers, const std::vector<std::string>& parts);

    Profile* profile_;
    std::chrono::steady_clock::time_point mark_ = {};
};

}  // namespace sterna

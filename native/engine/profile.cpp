#include "profile.hpp"

namespace sterna {
namespace {

using Clock = std::chrono::steady_clock;

double since(Clock::time_point begin) {
    return std::chrono::duration<double>(Clock::now() - begin).count();
}

}  // namespace

CallTimer::CallTimer(Profile* profile) : profile_(profile) {
    if (profile == nullptr) return;
    const bool is_first = profile->last_call == Clock::time_point{};
    mark_ = is_first ? Clock::now() : profile->last_call;
    add("python");
}

CallTimer::~CallTimer() {
    if (profile_ == nullptr) return;
    add("setup");
    profile_->last_call = mark_;
}

void CallTimer::add(const std::string& part) {
    const Clock::time_point now = Clock::now();
    if (profile_->passes.empty()) profile_->passes.emplace_back();  // a head without a pass before it
    profile_->passes.back().seconds[part] += std::chrono::duration<double>(now - mark_).count();
    mark_ = now;
}

void CallTimer::collect(const std::vector<StepTimer>& timers, const std::vector<std::string>& parts) {
    double waiting = since(mark_);
    auto& seconds = profile_->passes.back().seconds;
    for (const StepTimer& timer : timers)
        for (std::size_t i = 0; i < parts.size(); ++i) {
            const double mean = timer.seconds()[i] / static_cast<double>(timers.size());
            if (mean > 0) seconds[parts[i]] += mean;
            waiting -= mean;
        }
    seconds["barriers"] += waiting;
    mark_ = Clock::now();
}

}  // namespace sterna

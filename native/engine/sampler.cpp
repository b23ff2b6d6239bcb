#include "sampler.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <optional>

namespace sterna {
namespace {

// SplitMix64 (Steele et al., 2014) of a counter: a uniform number in [0, 1) that depends on (seed, step) alone.
double uniform(std::uint64_t seed, std::uint64_t step) {
    std::uint64_t z = seed * 0x9e3779b97f4a7c15u + (step + 1) * 0xd1b54a32d192ed03u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    z ^= z >> 31;
    return static_cast<double>(z >> 11) * 0x1p-53;
}

constexpr float kNever = -std::numeric_limits<float>::infinity();

// Calls change(logit) once for each id, or as often as the id occurs.
template <class Change>
void for_ids(std::span<float> logits, std::vector<std::int32_t> ids, bool once, const Change& change) {
    std::sort(ids.begin(), ids.end());
    if (once) ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
    for (const std::int32_t id : ids)
        if (id >= 0 && static_cast<std::size_t>(id) < logits.size()) change(logits[static_cast<std::size_t>(id)]);
}

void adjust(std::span<float> logits, const Sampling& sampling) {
    if (sampling.repetition_penalty != 1.0f)
        for_ids(logits, sampling.seen, true, [&](float& logit) {
            logit = logit > 0 ? logit / sampling.repetition_penalty : logit * sampling.repetition_penalty;
        });
    if (sampling.presence_penalty != 0.0f)
        for_ids(logits, sampling.generated, true, [&](float& logit) { logit -= sampling.presence_penalty; });
    if (sampling.frequency_penalty != 0.0f)
        for_ids(logits, sampling.generated, false, [&](float& logit) { logit -= sampling.frequency_penalty; });
    for (const auto& [id, bias] : sampling.logit_bias)
        for_ids(logits, {id}, true, [bias = bias](float& logit) { logit += bias; });
    for_ids(logits, sampling.banned, true, [](float& logit) { logit = kNever; });
    if (!sampling.mask.empty())
        for (std::size_t id = 0; id < logits.size(); ++id) {
            const bool allowed = id / 32 < sampling.mask.size() && (sampling.mask[id / 32] >> (id % 32) & 1u);
            if (!allowed) logits[id] = kNever;
        }
}

// Log-softmax in double precision, of all ids or of some.
class LogSoftmax {
public:
    explicit LogSoftmax(std::span<const float> logits) : logits_(logits.begin(), logits.end()) {
        const double highest = *std::max_element(logits_.begin(), logits_.end());
        double total = 0.0;
        for (const float logit : logits_) total += std::exp(static_cast<double>(logit) - highest);
        normalizer_ = highest + std::log(total);
    }
    float of(std::int32_t id) const {
        return static_cast<float>(static_cast<double>(logits_[static_cast<std::size_t>(id)]) - normalizer_);
    }
    std::vector<std::pair<std::int32_t, float>> best(std::size_t n) const {
        std::vector<std::int32_t> ids(logits_.size());
        std::iota(ids.begin(), ids.end(), 0);
        n = std::min(n, ids.size());
        std::partial_sort(
            ids.begin(), ids.begin() + static_cast<std::ptrdiff_t>(n), ids.end(), [&](std::int32_t a, std::int32_t b) {
                const float x = logits_[static_cast<std::size_t>(a)], y = logits_[static_cast<std::size_t>(b)];
                return x > y || (x == y && a < b);
            });
        std::vector<std::pair<std::int32_t, float>> found;
        for (std::size_t i = 0; i < n; ++i) found.emplace_back(ids[i], of(ids[i]));
        return found;
    }

private:
    std::vector<float> logits_;
    double normalizer_ = 0.0;
};

// The chosen token, or -1 if none may be chosen.
std::int32_t sample(std::span<float> logits, const Sampling& sampling) {
    const auto best = static_cast<std::int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
    const double highest = logits[static_cast<std::size_t>(best)];
    if (highest == kNever) return -1;
    if (sampling.temperature <= 0.0f || !std::isfinite(highest)) return best;

    const auto weight = [&](std::int32_t id) {
        return std::exp((static_cast<double>(logits[static_cast<std::size_t>(id)]) - highest) / sampling.temperature);
    };
    const auto more_likely = [&](std::int32_t a, std::int32_t b) {
        const float x = logits[static_cast<std::size_t>(a)], y = logits[static_cast<std::size_t>(b)];
        return x > y || (x == y && a < b);
    };
    std::vector<std::int32_t> ids;
    for (std::size_t id = 0; id < logits.size(); ++id)
        if (logits[id] > kNever) ids.push_back(static_cast<std::int32_t>(id));
    std::size_t keep = ids.size();
    if (sampling.top_k > 0) keep = std::min(keep, static_cast<std::size_t>(sampling.top_k));
    if (keep < ids.size()) {
        std::nth_element(ids.begin(), ids.begin() + static_cast<std::ptrdiff_t>(keep), ids.end(), more_likely);
        ids.resize(keep);
        std::sort(ids.begin(), ids.end());  // what is partitioned lies in an order of the library's own
    }
    double total = 0.0;
    for (const std::int32_t id : ids) total += weight(id);

    // Sort only as much as the nucleus needs: the most likely 64, then four times as many, until top_p is covered.
    double nucleus = total;
    if (sampling.top_p < 1.0f) {
        nucleus = 0.0;
        std::size_t sorted = 0, count = 0;
        const double wanted = static_cast<double>(sampling.top_p) * total;
        while (count < keep && (count == 0 || nucleus < wanted)) {
            if (count == sorted) {
                const std::size_t next = std::min(keep, std::max<std::size_t>(64, 4 * sorted));
                std::partial_sort(ids.begin() + static_cast<std::ptrdiff_t>(sorted),
                                  ids.begin() + static_cast<std::ptrdiff_t>(next), ids.end(), more_likely);
                sorted = next;
            }
            nucleus += weight(ids[count++]);
        }
        ids.resize(count);
    }
    if (sampling.min_p > 0.0f) {
        std::erase_if(ids, [&](std::int32_t id) { return weight(id) < static_cast<double>(sampling.min_p); });
        nucleus = 0.0;
        for (const std::int32_t id : ids) nucleus += weight(id);
    }
    double left = uniform(sampling.seed, sampling.step) * nucleus;
    for (const std::int32_t id : ids) {
        left -= weight(id);
        if (left < 0.0) return id;
    }
    return ids.empty() ? best : ids.back();
}

}  // namespace

Choice choose(std::span<float> logits, const Sampling& sampling) {
    for (float& logit : logits)
        if (std::isnan(logit)) logit = kNever;
    std::optional<LogSoftmax> raw;
    if (sampling.logprobs >= 0) raw.emplace(logits);
    adjust(logits, sampling);
    Choice choice{.token = sample(logits, sampling), .logprob = 0.0f, .top = {}};
    if (raw && choice.token >= 0) {
        choice.logprob = raw->of(choice.token);
        choice.top = raw->best(static_cast<std::size_t>(sampling.logprobs));
    }
    return choice;
}

}  // namespace sterna

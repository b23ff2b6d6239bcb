#include "sampler.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

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

void penalize(std::span<float> logits, const Sampling& sampling) {
    if (sampling.repetition_penalty == 1.0f) return;
    std::vector<std::int32_t> ids = sampling.penalized;
    std::sort(ids.begin(), ids.end());
    ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
    for (const std::int32_t id : ids) {
        if (id < 0 || static_cast<std::size_t>(id) >= logits.size()) continue;
        float& logit = logits[static_cast<std::size_t>(id)];
        logit = logit > 0 ? logit / sampling.repetition_penalty : logit * sampling.repetition_penalty;
    }
}

}  // namespace

std::int32_t sample(std::span<float> logits, const Sampling& sampling) {
    for (float& logit : logits)
        if (std::isnan(logit)) logit = -std::numeric_limits<float>::infinity();
    penalize(logits, sampling);
    const auto best = static_cast<std::int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
    const double highest = logits[static_cast<std::size_t>(best)];
    if (sampling.temperature <= 0.0f || !std::isfinite(highest)) return best;

    const auto weight = [&](std::int32_t id) {
        return std::exp((static_cast<double>(logits[static_cast<std::size_t>(id)]) - highest) / sampling.temperature);
    };
    const auto more_likely = [&](std::int32_t a, std::int32_t b) {
        const float x = logits[static_cast<std::size_t>(a)], y = logits[static_cast<std::size_t>(b)];
        return x > y || (x == y && a < b);
    };
    std::vector<std::int32_t> ids(logits.size());
    std::iota(ids.begin(), ids.end(), 0);
    std::size_t keep = ids.size();
    if (sampling.top_k > 0) keep = std::min(keep, static_cast<std::size_t>(sampling.top_k));
    if (keep < ids.size()) {
        std::nth_element(ids.begin(), ids.begin() + static_cast<std::ptrdiff_t>(keep), ids.end(), more_likely);
        ids.resize(keep);
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

}  // namespace sterna

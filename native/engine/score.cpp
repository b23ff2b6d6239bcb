#include "score.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>

namespace sterna {
namespace {

constexpr std::size_t kLanes = 16;    // independent maxima and sums, which compilers put into vectors
constexpr std::size_t kBlock = 1024;  // values that are added in float before they are added in double

// e^x for x <= 0 with a relative error below 1e-6; below -87 it is that of -87. NaN counts as -87.
inline float exponential(float x) {
    x = x > -87.0f ? x : -87.0f;
    const float n = (x * 1.44269504f + 0x1.8p23f) - 0x1.8p23f;  // rounded to a whole number
    const float f = (x - n * 0.693145752f) - n * 1.42860677e-6f;
    const float power =
        1.0f + f * (1.0f + f * (0.5f + f * (1.0f / 6 + f * (1.0f / 24 + f * (1.0f / 120 + f * (1.0f / 720))))));
    return power * std::bit_cast<float>((static_cast<std::int32_t>(n) + 127) << 23);
}

float largest(std::span<const float> values) {
    float lanes[kLanes];
    std::fill(lanes, lanes + kLanes, values.front());
    std::size_t i = 0;
    for (; i + kLanes <= values.size(); i += kLanes)
        for (std::size_t k = 0; k < kLanes; ++k) lanes[k] = values[i + k] > lanes[k] ? values[i + k] : lanes[k];
    for (; i < values.size(); ++i) lanes[0] = std::max(lanes[0], values[i]);
    return *std::max_element(lanes, lanes + kLanes);
}

double sum_of_exponentials(std::span<const float> values, float highest) {
    double total = 0.0;
    for (std::size_t begin = 0; begin < values.size(); begin += kBlock) {
        const std::span<const float> block = values.subspan(begin, std::min(kBlock, values.size() - begin));
        float lanes[kLanes] = {};
        std::size_t i = 0;
        for (; i + kLanes <= block.size(); i += kLanes)
            for (std::size_t k = 0; k < kLanes; ++k) lanes[k] += exponential(block[i + k] - highest);
        for (; i < block.size(); ++i) lanes[0] += exponential(block[i] - highest);
        for (const float lane : lanes) total += static_cast<double>(lane);
    }
    return total;
}

}  // namespace

Score score(std::span<const float> logits, std::int32_t id) {
    const auto at = static_cast<std::size_t>(id);
    const float highest = largest(logits);
    const double above = static_cast<double>(logits[at]) - static_cast<double>(highest);
    const bool is_first =
        logits[at] == highest && std::find(logits.begin(), logits.begin() + id, highest) == logits.begin() + id;
    return {static_cast<float>(above - std::log(sum_of_exponentials(logits, highest))), is_first ? 1.0f : 0.0f};
}

}  // namespace sterna

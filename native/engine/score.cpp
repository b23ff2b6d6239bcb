#include "score.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>

namespace sterna {

Score score(const Kernels& kernels, std::span<const float> logits, std::int32_t id) {
    const auto at = static_cast<std::size_t>(id);
    const SoftmaxSums sums = kernels.softmax_sums(logits.data(), logits.size());
    const double above = static_cast<double>(logits[at]) - static_cast<double>(sums.largest);
    const bool is_first = logits[at] == sums.largest &&
                          std::find(logits.begin(), logits.begin() + id, sums.largest) == logits.begin() + id;
    return {static_cast<float>(above - std::log(sums.total)), is_first ? 1.0f : 0.0f};
}

}  // namespace sterna

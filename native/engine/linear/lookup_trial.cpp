#include "lookup_trial.hpp"

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <map>
#include <mutex>
#include <vector>

#include "../buffer.hpp"

namespace sterna {
namespace {

// As many rows as each of two threads has of a matrix of 2560, whole runs of 16-bit sums, as many tokens as a pass.
constexpr std::size_t kRows = 1280, kCols = 896, kTokens = kLookupTokens;
constexpr int kRounds = 2;

template <class Work>
double seconds(const Work& work) {
    const auto begin = std::chrono::steady_clock::now();
    work();
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

// The best of a few rounds counts, and the first, which waits for pages of memory, does not.
bool measure(const Kernels& kernels) {
    const Buffer<std::uint8_t> panels(kRows * kCols / 4), scratch(kLookupScratch);
    std::uint32_t noise = 1;
    for (std::size_t i = 0; i < kRows * kCols / 4; ++i) {
        noise = noise * 1664525 + 1013904223;  // which entries are looked up must not be foreseen
        const std::uint32_t r = noise >> 8;
        panels.get()[i] = static_cast<std::uint8_t>(r % 3 | r / 3 % 3 << 2 | r / 9 % 3 << 4 | r / 27 % 3 << 6);
    }
    const Buffer<std::int8_t> codes(kTokens * kCols);
    const std::vector<std::int32_t> sums(kTokens);
    const std::vector<float> scales(kTokens, 1.0f);
    std::vector<float> products(kTokens * kRows);
    const TernaryPanelTask task{panels.get(), kRows, 1.0f, {codes.get(), sums.data(), scales.data(), kCols},
                                kTokens,      kCols, 0,    {products.data(), kRows}};
    double with = 1e30, without = 1e30;
    for (int round = 0; round <= kRounds; ++round) {
        const double lookup = seconds([&] { kernels.panel_lookup_dot(task, scratch.get()); });
        const double multiply = seconds([&] { kernels.ternary_panel_dot(task); });
        if (round == 0) continue;
        with = std::min(with, lookup);
        without = std::min(without, multiply);
    }
    return with < without;
}

}  // namespace

bool lookup_wins(const Kernels& kernels) {
    if (kernels.panel_lookup_dot == nullptr) return false;
    if (const char* value = std::getenv("STERNA_TABLES"); value != nullptr && *value != '\0') return *value == '1';
    static std::mutex mutex;
    static std::map<const Kernels*, bool> known;
    const std::lock_guard lock(mutex);
    if (const auto found = known.find(&kernels); found != known.end()) return found->second;
    return known[&kernels] = measure(kernels);
}

}  // namespace sterna

// Shared by the research benchmarks: the shipped kernels of one ISA, random ternary data, a clock for several threads.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "../../native/kernels/isa_avx2.cpp"

namespace lab {

using sterna::load256;

// 64-byte aligned memory whose pages have been written, with room for prefetches past the end.
template <class T>
struct Memory {
    explicit Memory(std::size_t n)
        : data(static_cast<T*>(std::aligned_alloc(4096, (n * sizeof(T) + 16383) / 4096 * 4096))) {
        std::memset(data, 0, (n * sizeof(T) + 16383) / 4096 * 4096);
    }
    ~Memory() { std::free(data); }
    Memory(const Memory&) = delete;
    T* data;
};

// Seconds from the moment when all threads are ready to begin work(thread, n_threads) until all have ended.
inline double seconds(int n_threads, const std::function<void(int, int)>& work) {
    using Clock = std::chrono::steady_clock;
    std::atomic<int> ready{0}, done{0};
    Clock::time_point begin, end;
    const auto body = [&](int thread) {
        ++ready;
        while (ready < n_threads) _mm_pause();
        if (thread == 0) begin = Clock::now();
        work(thread, n_threads);
        ++done;
        while (done < n_threads) _mm_pause();
        if (thread == 0) end = Clock::now();
    };
    std::vector<std::thread> others;
    for (int t = 1; t < n_threads; ++t) others.emplace_back(body, t);
    body(0);
    for (auto& t : others) t.join();
    return std::chrono::duration<double>(end - begin).count();
}

inline std::int32_t sum32(__m256i v) {
    __m128i s = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
    s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0x4e));
    return _mm_cvtsi128_si32(_mm_add_epi32(s, _mm_shuffle_epi32(s, 0xb1)));
}

// The machine's rate of int8 multiply-adds, in 1e9 a second.
inline double multiply_add_rate(int n_threads) {
    std::atomic<std::uint64_t> done{0};
    const double time =
        seconds(n_threads, [&](int, int) { done += sterna::kAvx2Kernels.multiply_add(std::size_t{1} << 20); });
    return static_cast<double>(done) / 1e9 / time;
}

inline double median(std::vector<double> v) {
    std::sort(v.begin(), v.end());
    return v[v.size() / 2];
}

inline std::vector<std::int8_t> random_trits(std::size_t n, double zeros, unsigned seed) {
    std::mt19937 rng(seed);
    std::uniform_real_distribution<float> uniform;
    std::vector<std::int8_t> w(n);
    for (auto& v : w) {
        const float u = uniform(rng);
        v = static_cast<std::int8_t>(u < zeros ? 0 : (u < (1 + zeros) / 2 ? 1 : -1));
    }
    return w;
}

// Codes -127..127; those of the first `extreme` tokens are only 127 and -128.
inline std::vector<std::int8_t> random_codes(std::size_t tokens, std::size_t cols, std::size_t extreme, unsigned seed) {
    std::mt19937 rng(seed);
    std::vector<std::int8_t> x(tokens * cols);
    for (std::size_t i = 0; i < x.size(); ++i)
        x[i] = static_cast<std::int8_t>(i / cols < extreme ? (rng() & 1 ? 127 : -128)
                                                           : static_cast<int>(rng() % 255) - 127);
    return x;
}

inline void pack_i2_s(const std::int8_t* w, std::size_t cols, std::uint8_t* out) {
    for (std::size_t block = 0; block < cols / 128; ++block)
        for (std::size_t b = 0; b < 32; ++b) {
            unsigned byte = 0;
            for (std::size_t q = 0; q < 4; ++q)
                byte |= static_cast<unsigned>(w[block * 128 + q * 32 + b] + 1) << (6 - 2 * q);
            out[block * 32 + b] = static_cast<std::uint8_t>(byte);
        }
}

inline std::int32_t dot(const std::int8_t* w, const std::int8_t* x, std::size_t cols) {
    std::int32_t s = 0;
    for (std::size_t k = 0; k < cols; ++k) s += w[k] * x[k];
    return s;
}

[[noreturn]] inline void fail(const std::string& what) {
    std::fprintf(stderr, "WRONG: %s\n", what.c_str());
    std::exit(1);
}

}  // namespace lab

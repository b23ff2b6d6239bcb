// RMSNorm, absmax quantisation, gated activation, RoPE, the sums of a softmax and the float dot product, written once
// for every ISA on lanes.hpp.
#pragma once

#include "kernels.hpp"
#include "lanes.hpp"

namespace sterna {
namespace {

float dot(const float* a, const float* b, std::size_t n) {
    Lanes acc = splat(0.0f);
    for (std::size_t k = 0; k < n; k += kLanes) acc = fma(load(a + k), load(b + k), acc);
    return sum(acc);
}

void rms_norm(const float* x, const float* weight, float eps, std::size_t n, float* out) {
    const std::size_t end = padded(n);
    const auto mean = static_cast<float>(sum_of_squares(x, end) / static_cast<double>(n));
    const Lanes inverse = splat(1.0f / __builtin_sqrtf(mean + eps));
    for (std::size_t k = 0; k < end; k += kLanes) store(out + k, load(x + k) * inverse * load(weight + k));
}

void quantize_int8(const float* x, std::size_t n, std::int8_t* codes, float* scale, std::int32_t* code_sum) {
    Lanes largest = splat(1e-5f);
    for (std::size_t k = 0; k < n; k += kLanes) largest = max(largest, abs(load(x + k)));
    *scale = 127.0f / max_of(largest);
    const Lanes factor = splat(*scale);
    Lanes total = splat(0.0f);  // whole numbers, small enough to be exact in float32
    for (std::size_t k = 0; k < n; k += kLanes) {
        // min comes first, so that a NaN becomes 127; its conversion would be undefined.
        const Lanes rounded = max(min(round_even(load(x + k) * factor), splat(127.0f)), splat(-128.0f));
        store_int8(codes + k, rounded);
        total = total + rounded;
    }
    *code_sum = static_cast<std::int32_t>(sum(total));
}

void gated(Activation activation, const float* gate, const float* up, std::size_t n, float* out) {
    if (activation == Activation::relu2) {
        for (std::size_t k = 0; k < n; k += kLanes) {
            const Lanes positive = max(load(gate + k), splat(0.0f));
            store(out + k, positive * positive * load(up + k));
        }
    } else if (activation == Activation::silu) {
        for (std::size_t k = 0; k < n; k += kLanes) {
            const Lanes g = load(gate + k);
            store(out + k, g / (splat(1.0f) + exp(splat(0.0f) - g)) * load(up + k));
        }
    } else if (activation == Activation::sigmoid) {
        for (std::size_t k = 0; k < n; k += kLanes)
            store(out + k, load(up + k) / (splat(1.0f) + exp(splat(0.0f) - load(gate + k))));
    } else {
        // GELU by tanh (arXiv 1606.08415, section 2): g / 2 * (1 + tanh(u)) = g / (1 + e^(-2u)), with
        // 2u = 2 sqrt(2 / pi) * (g + 0.044715 g^3).
        for (std::size_t k = 0; k < n; k += kLanes) {
            const Lanes g = load(gate + k);
            const Lanes twice_u = splat(1.5957691216f) * (g + splat(0.044715f) * (g * g * g));
            store(out + k, g / (splat(1.0f) + exp(splat(0.0f) - twice_u)) * load(up + k));
        }
    }
}

void rope(RopeStyle style, const float* cos, const float* sin, std::size_t half, float* head) {
    const std::size_t step = style == RopeStyle::half ? 1 : 2;
    const std::size_t partner = style == RopeStyle::half ? half : 1;
    for (std::size_t i = 0; i < half; ++i) {
        float& first = head[i * step];
        float& second = head[i * step + partner];
        const float a = first, b = second;
        first = a * cos[i] - b * sin[i];
        second = b * cos[i] + a * sin[i];
    }
}

SoftmaxSums softmax_sums(const float* x, std::size_t n) {
    constexpr std::size_t kBlock = 1024;  // values that are added in float32 before they are added in double
    const std::size_t whole = n / kLanes * kLanes;
    float tail[kLanes];
    for (std::size_t k = 0; k < kLanes; ++k) tail[k] = whole + k < n ? x[whole + k] : x[0];  // which changes no maximum
    Lanes most = load(tail);
    for (std::size_t k = 0; k < whole; k += kLanes) most = max(load(x + k), most);
    const float largest = max_of(most);
    const Lanes shift = splat(largest);
    double total = 0.0;
    for (std::size_t begin = 0; begin < whole; begin += kBlock) {
        Lanes part = splat(0.0f);
        const std::size_t end = begin + kBlock < whole ? begin + kBlock : whole;
        for (std::size_t k = begin; k < end; k += kLanes) part = part + exp(load(x + k) - shift);
        total += static_cast<double>(sum(part));
    }
    float powers[kLanes];
    store(powers, exp(load(tail) - shift));
    for (std::size_t k = whole; k < n; ++k) total += static_cast<double>(powers[k - whole]);
    return {largest, total};
}

void to_f16(const float* src, std::size_t n, std::uint16_t* dst) {
    std::size_t k = 0;
    for (; k + kLanes <= n; k += kLanes) store_half(dst + k, load(src + k));
    for (; k < n; ++k) dst[k] = float_to_half(src[k]);
}

}  // namespace
}  // namespace sterna

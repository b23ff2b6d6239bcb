// Encoders of float32 rows to Q4_0, Q8_0 and Q6_K; sterna/ternary/blocks.py is the same in numpy, to the bit. Layouts:
// decode.hpp. Compiled once per ISA; internal linkage.
#pragma once

#include "kernels.hpp"
#include "lanes.hpp"

namespace sterna {
namespace {

inline Lanes clamp(const Lanes& a, float least, float most) {
    return min(max(a, splat(least)), splat(most));
}

inline float finite_half(std::uint8_t* at, float x) {
    const std::uint16_t half = float_to_half(x < -65504.0f ? -65504.0f : x > 65504.0f ? 65504.0f : x);
    std::memcpy(at, &half, 2);
    return half_to_float(half);
}

// The scale with which codes -levels .. levels - 1 fit 16 * N values best. Five candidates put the value of largest
// magnitude at places around -levels and round the other values accordingly. Each candidate has a least squares fit of
// its codes to the values; the best fit is taken.
template <int N>
float best_scale(const Lanes (&x)[N], float levels) {
    Lanes highest = x[0], lowest = x[0];
    for (int i = 1; i < N; ++i) {
        highest = max(highest, x[i]);
        lowest = min(lowest, x[i]);
    }
    const float high = max_of(highest), low = -max_of(splat(0.0f) - lowest);
    const float extreme = high > -low ? high : low;
    if (extreme == 0.0f) return 0.0f;
    Lanes shares[N];
    for (int i = 0; i < N; ++i) shares[i] = x[i] / splat(extreme);
    float best = -1.0f, fit = 0.0f;
    for (int candidate = 29; candidate <= 33; ++candidate) {
        const Lanes factor = splat(-levels * static_cast<float>(candidate) / 32.0f);
        Lanes products = splat(0.0f), squares = splat(0.0f);
        for (int i = 0; i < N; ++i) {
            const Lanes code = round_even(clamp(shares[i] * factor, -levels, levels - 1.0f));
            products = products + shares[i] * code;
            squares = squares + code * code;
        }
        const float a = sum(products), b = sum(squares);
        const float gain = a * a / b;  // by how much the fit a / b lowers the squared error
        if (gain > best) {
            best = gain;
            fit = a / b;
        }
    }
    return extreme * fit;
}

// Codes of 16 values in steps of `step`, which may be 0.
inline void round_to(const Lanes& x, float step, float least, float most, float* codes) {
    store(codes, step == 0.0f ? splat(0.0f) : round_even(clamp(x / splat(step), least, most)));
}

void encode_q4_0(const float* x, std::uint8_t* block) {
    const Lanes values[2] = {load(x), load(x + 16)};
    const float d = finite_half(block, best_scale(values, 8.0f));
    float low[kLanes], high[kLanes];
    round_to(values[0], d, -8.0f, 7.0f, low);
    round_to(values[1], d, -8.0f, 7.0f, high);
    for (int i = 0; i < kLanes; ++i)
        block[2 + i] = static_cast<std::uint8_t>((static_cast<int>(low[i]) + 8) | (static_cast<int>(high[i]) + 8) << 4);
}

void encode_q8_0(const float* x, std::uint8_t* block) {
    const Lanes values[2] = {load(x), load(x + 16)};
    const float d = finite_half(block, max_of(max(abs(values[0]), abs(values[1]))) / 127.0f);
    float codes[2 * kLanes];
    for (int i = 0; i < 2; ++i) round_to(values[i], d, -127.0f, 127.0f, codes + i * kLanes);
    for (int i = 0; i < 2 * kLanes; ++i) block[2 + i] = static_cast<std::uint8_t>(static_cast<int>(codes[i]));
}

void encode_q6_k(const float* x, std::uint8_t* block) {
    float scales[16], codes[256];
    for (int g = 0; g < 16; ++g) scales[g] = best_scale({load(x + 16 * g)}, 32.0f);
    const Lanes scale = load(scales);
    const float d = finite_half(block + 208, max_of(abs(scale)) / 127.0f);
    round_to(scale, d, -128.0f, 127.0f, scales);
    for (int g = 0; g < 16; ++g) {
        block[192 + g] = static_cast<std::uint8_t>(static_cast<int>(scales[g]));
        round_to(load(x + 16 * g), d * scales[g], -32.0f, 31.0f, codes + 16 * g);
    }
    for (int half = 0; half < 2; ++half)
        for (int i = 0; i < 32; ++i) {
            int code[4];
            for (int q = 0; q < 4; ++q) code[q] = static_cast<int>(codes[128 * half + 32 * q + i]) + 32;
            block[64 * half + i] = static_cast<std::uint8_t>((code[0] & 15) | (code[2] & 15) << 4);
            block[64 * half + 32 + i] = static_cast<std::uint8_t>((code[1] & 15) | (code[3] & 15) << 4);
            block[128 + 32 * half + i] = static_cast<std::uint8_t>((code[0] >> 4) | (code[1] >> 4) << 2 |
                                                                   (code[2] >> 4) << 4 | (code[3] >> 4) << 6);
        }
}

#define STERNA_ENCODER(name, values, bytes, activations, encode) encode,
bool encode(Encoding encoding, const float* x, std::size_t n, std::uint8_t* out) {
    constexpr void (*kEncoders[])(const float*, std::uint8_t*) = {STERNA_ENCODINGS(STERNA_ENCODER)};
    const auto encode_block = kEncoders[static_cast<std::size_t>(encoding)];
    Lanes zeros = splat(0.0f);  // finite * 0 is 0; infinity and NaN give NaN
    for (std::size_t k = 0; k < n; k += kLanes) zeros = zeros + load(x + k) * splat(0.0f);
    if (encode_block == nullptr || sum(zeros) != 0.0f) return false;
    const Format& format = format_of(encoding);
    for (std::size_t k = 0; k < n; k += format.values, out += format.bytes) encode_block(x + k, out);
    return true;
}
#undef STERNA_ENCODER

}  // namespace
}  // namespace sterna

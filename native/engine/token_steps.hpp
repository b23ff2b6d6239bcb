// The operations that treat every token by itself.
#pragma once

#include <algorithm>
#include <cmath>
#include <memory>
#include <utility>

#include "token_step.hpp"

namespace sterna {

struct Embed final : TokenStep<Embed> {
    Embed(std::unique_ptr<Linear> rows, std::size_t out) : rows(std::move(rows)), out(out) { writes = {out}; }
    std::unique_ptr<Linear>* matrix() override { return &rows; }
    void token(Run& run, std::size_t t) const {
        rows->row(static_cast<std::size_t>(run.batch.tokens[t]), run.slots[out].row(t));
        rows->drop();  // a row brings up to 2 MB of the file around it, which the head may hold already
    }
    std::unique_ptr<Linear> rows;
    std::size_t out;
};

struct Norm final : TokenStep<Norm> {
    Norm(std::vector<float> weight, float eps, std::size_t x, std::size_t out)
        : weight(std::move(weight)), eps(eps), x(x), out(out) {
        reads = {x};
        writes = {out};
    }
    void token(Run& run, std::size_t t) const {
        const Slot& source = run.slots[x];
        run.kernels.rms_norm(source.row(t), weight.data(), eps, source.width, run.slots[out].row(t));
    }
    std::vector<float> weight;
    float eps;
    std::size_t x, out;
};

// The same norm over each of several heads. Each head is copied first, because kernels need zeros after their vectors.
struct HeadNorm final : TokenStep<HeadNorm> {
    HeadNorm(std::vector<float> weight, float eps, std::size_t heads, std::size_t x, std::size_t out)
        : weight(std::move(weight)), eps(eps), heads(heads), x(x), out(out) {
        reads = {x};
        writes = {out};
    }
    void token(Run& run, std::size_t t) const {
        const std::size_t head_dim = run.slots[x].width / heads;
        alignas(64) float head[kMaxHeadDim];
        std::fill(head + head_dim, head + weight.size(), 0.0f);
        for (std::size_t h = 0; h < heads; ++h) {
            std::copy_n(run.slots[x].row(t) + h * head_dim, head_dim, head);
            run.kernels.rms_norm(head, weight.data(), eps, head_dim, head);
            std::copy_n(head, head_dim, run.slots[out].row(t) + h * head_dim);
        }
    }
    std::vector<float> weight;  // padded
    float eps;
    std::size_t heads, x, out;
};

struct Quantize final : TokenStep<Quantize> {
    explicit Quantize(std::size_t x) : x(x) { reads = writes = {x}; }
    void token(Run& run, std::size_t t) const { run.slots[x].quantize(run.kernels, t); }
    std::size_t x;
};

struct Gated final : TokenStep<Gated> {
    Gated(Activation activation, std::size_t gate, std::size_t up, std::size_t out)
        : activation(activation), gate(gate), up(up), out(out) {
        reads = {gate, up};
        writes = {out};
    }
    void token(Run& run, std::size_t t) const {
        run.kernels.gated(activation, run.slots[gate].row(t), run.slots[up].row(t), run.slots[out].stride,
                          run.slots[out].row(t));
    }
    Activation activation;
    std::size_t gate, up, out;
};

struct Add final : TokenStep<Add> {
    Add(std::size_t x, std::size_t y, std::size_t out) : x(x), y(y), out(out) {
        reads = {x, y};
        writes = {out};
    }
    void token(Run& run, std::size_t t) const {
        const float *a = run.slots[x].row(t), *b = run.slots[y].row(t);
        float* sum = run.slots[out].row(t);
        for (std::size_t k = 0; k < run.slots[out].stride; ++k) sum[k] = a[k] + b[k];
    }
    std::size_t x, y, out;
};

struct Scale final : TokenStep<Scale> {
    Scale(float factor, std::size_t x, std::size_t out) : factor(factor), x(x), out(out) {
        reads = {x};
        writes = {out};
    }
    void token(Run& run, std::size_t t) const {
        const float* values = run.slots[x].row(t);
        float* scaled = run.slots[out].row(t);
        for (std::size_t k = 0; k < run.slots[out].stride; ++k) scaled[k] = values[k] * factor;
    }
    float factor;
    std::size_t x, out;
};

// LayerNorm without weights, in double precision.
struct Standardize final : TokenStep<Standardize> {
    Standardize(double eps, std::size_t x, std::size_t out) : eps(eps), x(x), out(out) {
        reads = {x};
        writes = {out};
    }
    void token(Run& run, std::size_t t) const {
        const float* values = run.slots[x].row(t);
        float* row = run.slots[out].row(t);
        const std::size_t n = run.slots[x].width;
        double sum = 0, squares = 0;
        for (std::size_t k = 0; k < n; ++k) sum += static_cast<double>(values[k]);
        const double mean = sum / static_cast<double>(n);
        for (std::size_t k = 0; k < n; ++k) {
            const double difference = static_cast<double>(values[k]) - mean;
            squares += difference * difference;
        }
        const double factor = 1.0 / std::sqrt(squares / static_cast<double>(n) + eps);
        for (std::size_t k = 0; k < n; ++k)
            row[k] = static_cast<float>((static_cast<double>(values[k]) - mean) * factor);
    }
    double eps;
    std::size_t x, out;
};

// The Walsh-Hadamard transform of each block of columns; the signs multiply before it (forward) or after it (inverse).
struct Hadamard final : TokenStep<Hadamard> {
    Hadamard(std::vector<float> signs, std::size_t block, bool forward, std::size_t x, std::size_t out)
        : signs(std::move(signs)), block(block), forward(forward), x(x), out(out) {
        reads = {x};
        writes = {out};
    }
    void token(Run& run, std::size_t t) const {
        const float* source = run.slots[x].row(t);
        float* row = run.slots[out].row(t);
        const std::size_t n = signs.size();
        for (std::size_t k = 0; k < n; ++k) row[k] = forward ? source[k] * signs[k] : source[k];
        for (float* start = row; start < row + n; start += block)
            for (std::size_t step = 1; step < block; step *= 2)
                for (std::size_t k = 0; k < block; k += 2 * step) butterfly(start + k, step);
        const auto factor = static_cast<float>(1.0 / std::sqrt(static_cast<double>(block)));
        for (std::size_t k = 0; k < n; ++k) row[k] *= forward ? factor : factor * signs[k];
    }
    // Sums and differences of `step` pairs that lie `step` apart.
    static void butterfly(float* __restrict first, std::size_t step) {
        float* __restrict second = first + step;
        for (std::size_t i = 0; i < step; ++i) {
            const float a = first[i], b = second[i];
            first[i] = a + b;
            second[i] = a - b;
        }
    }
    std::vector<float> signs;
    std::size_t block;
    bool forward;
    std::size_t x, out;
};

// Columns in another order, in runs of `run`: the i-th run of the output is run from[i] of x.
struct Gather final : TokenStep<Gather> {
    Gather(std::vector<std::size_t> from, std::size_t run, std::size_t x, std::size_t out)
        : from(std::move(from)), run_length(run), x(x), out(out) {
        reads = {x};
        writes = {out};
    }
    void token(Run& run, std::size_t t) const {
        for (std::size_t i = 0; i < from.size(); ++i)
            std::copy_n(run.slots[x].row(t) + from[i] * run_length, run_length, run.slots[out].row(t) + i * run_length);
    }
    std::vector<std::size_t> from;
    std::size_t run_length, x, out;
};

// Cosines and sines of the rotary angles at a token's position, [2, half], computed in double precision, then rounded.
struct Angles final : TokenStep<Angles> {
    Angles(std::vector<double> frequencies, std::size_t out) : frequencies(std::move(frequencies)), out(out) {
        writes = {out};
    }
    void token(Run& run, std::size_t t) const {
        float* row = run.slots[out].row(t);
        for (std::size_t i = 0; i < frequencies.size(); ++i) {
            const double angle = static_cast<double>(run.batch.positions[t]) * frequencies[i];
            row[i] = static_cast<float>(std::cos(angle));
            row[frequencies.size() + i] = static_cast<float>(std::sin(angle));
        }
    }
    std::vector<double> frequencies;
    std::size_t out;
};

struct Rope final : TokenStep<Rope> {
    Rope(RopeStyle style, std::size_t angles, std::size_t half, std::size_t heads, std::size_t x, std::size_t out)
        : style(style), angles(angles), half(half), heads(heads), x(x), out(out) {
        reads = {angles, x};
        writes = {out};
    }
    void token(Run& run, std::size_t t) const {
        const float* cos = run.slots[angles].row(t);
        const std::size_t head_dim = run.slots[x].width / heads;
        if (x != out) std::copy_n(run.slots[x].row(t), run.slots[x].stride, run.slots[out].row(t));
        for (std::size_t h = 0; h < heads; ++h)
            run.kernels.rope(style, cos, cos + half, half, run.slots[out].row(t) + h * head_dim);
    }
    RopeStyle style;
    std::size_t angles, half, heads, x, out;
};

// Adds the bias of a linear operation.
struct AddBias final : TokenStep<AddBias> {
    AddBias(std::vector<float> bias, std::size_t out) : bias(std::move(bias)), out(out) { reads = writes = {out}; }
    void token(Run& run, std::size_t t) const {
        float* row = run.slots[out].row(t);
        for (std::size_t k = 0; k < run.slots[out].stride; ++k) row[k] += bias[k];
    }
    std::vector<float> bias;  // padded
    std::size_t out;
};

}  // namespace sterna

#include "delta_steps.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

namespace sterna {
namespace {

using Origin = StateWork::Origin;
using Segment = StateWork::Segment;

std::size_t padded_to(std::size_t n, std::size_t unit) {
    return (n + unit - 1) / unit * unit;
}

// The delta rule of one key head in one block of one sequence. Rows are those of the segment; row r is row `start + r`
// of the block.
class KeyHead {
public:
    static constexpr std::size_t kPanel = StatePool::kPanel;

    KeyHead(const Kernels& kernels, const StatePool& pool, std::size_t layer, std::size_t head, const Segment& segment,
            float* scratch)
        : kernels_(kernels),
          pool_(pool),
          layer_(layer),
          head_(head),
          segment_(segment),
          start_(segment.row()),
          key_dim_(pool.shape().key_dim),
          key_stride_(padded_to(key_dim_, 16)),
          value_stride_(pool.panels() * kPanel),
          keys_(pool.key_head(segment.slot, layer, head).keys) {
        const auto take = [&](std::size_t n) { return std::exchange(scratch, scratch + n); };
        queries_ = take(2 * kBlockSize * key_stride_);
        dots_ = take(2 * kBlockSize * kBlockSize);
        factors_ = take(2 * kBlockSize * kBlockSize);
        products_ = take(2 * kBlockSize * value_stride_);
        weighted_ = take(key_dim_ * kBlockSize);
    }

    static std::size_t scratch(const StateGroup& shape) {
        return 2 * kBlockSize * (padded_to(shape.key_dim, 16) + 2 * kBlockSize + padded_to(shape.value_dim, kPanel)) +
               shape.key_dim * kBlockSize;
    }

    // Normalises the rows' keys and queries, q and k [count] rows `stride` floats apart, keeps the keys, and multiplies
    // both with the keys of the block.
    void take_rows(const float* q, const float* k, std::size_t stride) {
        const auto scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(key_dim_)));
        for (std::size_t r = 0; r < segment_.count; ++r) {
            float *key = queries_ + 2 * r * key_stride_, *query = key + key_stride_;
            normalise(k + r * stride, 1.0f, key);
            normalise(q + r * stride, scale, query);
            for (std::size_t d = 0; d < key_dim_; ++d) keys_[d * kBlockSize + start_ + r] = key[d];
        }
        const std::size_t columns = padded_to(start_ + segment_.count, 16);
        for (std::size_t i = 0; i < 2 * segment_.count; ++i) std::fill_n(dots_ + i * kBlockSize, columns, 0.0f);
        kernels_.add_products(
            {queries_, key_stride_, keys_, kBlockSize, dots_, kBlockSize, 2 * segment_.count, key_dim_, columns});
    }

    // Sets the state of a value head at the block's beginning. With `advances`, the keys are still those of the block
    // before, which the source holds.
    void begin_block(std::size_t value_head) {
        const StatePool::ValueHead to = pool_.value_head(segment_.slot, layer_, value_head);
        const StatePool::ValueHead from = pool_.value_head(segment_.source, layer_, value_head);
        const std::size_t n = pool_.state_floats();
        if (segment_.origin == Origin::zeros) std::fill_n(to.state, n, 0.0f);
        if (segment_.origin == Origin::copies) std::copy_n(from.state, n, to.state);
        if (segment_.origin != Origin::advances) return;
        // S e^(G of the last row) + sum over rows j of e^(G of the last row - G_j) k_j δ_j^T
        const float* keys = pool_.key_head(segment_.source, layer_, head_).keys;
        alignas(64) std::array<float, kBlockSize> worth;
        decays_to(from.decays, kBlockSize - 1, worth.data());
        for (std::size_t d = 0; d < key_dim_; ++d)
            for (std::size_t j = 0; j < kBlockSize; ++j)
                weighted_[d * kBlockSize + j] = keys[d * kBlockSize + j] * worth[j];
        const float decay = decay_of(from.decays[kBlockSize - 1]);
        for (std::size_t i = 0; i < n; ++i) to.state[i] = from.state[i] * decay;
        for (std::size_t panel = 0; panel < pool_.panels(); ++panel)
            kernels_.add_products({weighted_, kBlockSize, from.rows + panel * kPanel, value_stride_,
                                   to.state + panel * key_dim_ * kPanel, kPanel, key_dim_, kBlockSize, kPanel});
    }

    // The rows of a value head. log_decay and beta: [count]; v and out: [count] rows `stride` floats apart.
    void rows(std::size_t value_head, const double* log_decay, const float* beta, const float* v, std::size_t v_stride,
              float* out, std::size_t out_stride) {
        const StatePool::ValueHead kept = pool_.value_head(segment_.slot, layer_, value_head);
        const std::size_t count = segment_.count, value_dim = pool_.shape().value_dim;
        for (std::size_t r = 0; r < count; ++r) {
            const std::size_t i = start_ + r;
            kept.decays[i] = (i == 0 ? 0.0 : kept.decays[i - 1]) + log_decay[r];
        }
        std::fill_n(products_, 2 * count * value_stride_, 0.0f);
        for (std::size_t panel = 0; panel < pool_.panels(); ++panel)
            kernels_.add_products({queries_, key_stride_, kept.state + panel * key_dim_ * kPanel, kPanel,
                                   products_ + panel * kPanel, value_stride_, 2 * count, key_dim_, kPanel});
        for (std::size_t r = 0; r < count; ++r) {
            const std::size_t i = start_ + r;
            float *delta = products_ + 2 * r * value_stride_, *answer = delta + value_stride_;
            float *of_key = factors_, *of_query = factors_ + kBlockSize;
            decays_to(kept.decays, i, of_query);
            for (std::size_t j = 0; j <= i; ++j) {
                of_key[j] = -of_query[j] * dots_[2 * r * kBlockSize + j];
                of_query[j] *= dots_[(2 * r + 1) * kBlockSize + j];
            }
            const float decay = decay_of(kept.decays[i]);
            for (std::size_t c = 0; c < value_dim; ++c) delta[c] = v[r * v_stride + c] - decay * delta[c];
            for (std::size_t c = 0; c < value_dim; ++c) answer[c] *= decay;
            // The earlier rows are read once for both, and this one is added last.
            kernels_.add_products(
                {factors_, kBlockSize, kept.rows, value_stride_, delta, value_stride_, 2, i, value_stride_});
            float* row = kept.rows + i * value_stride_;
            for (std::size_t c = 0; c < value_dim; ++c) row[c] = delta[c] * beta[r];
            kernels_.add_products({of_query + i, 1, row, value_stride_, answer, value_stride_, 1, 1, value_stride_});
            std::copy_n(answer, value_dim, out + r * out_stride);
        }
    }

private:
    // out = x / sqrt(sum of squares + 1e-6) * scale, padded with zeros.
    void normalise(const float* x, float scale, float* out) const {
        std::copy_n(x, key_dim_, out);
        std::fill(out + key_dim_, out + key_stride_, 0.0f);
        const float factor = scale / std::sqrt(kernels_.dot(out, out, key_stride_) + 1e-6f);
        for (std::size_t d = 0; d < key_dim_; ++d) out[d] *= factor;
    }

    // out[j] = e^(decays[i] - decays[j]) for the rows j <= i; anything for later ones.
    void decays_to(const double* decays, std::size_t i, float* out) const {
        for (std::size_t j = 0; j < padded_to(i + 1, 16); ++j)
            out[j] = j <= i ? static_cast<float>(decays[i] - decays[j]) : 0.0f;
        kernels_.decays(out, padded_to(i + 1, 16), out);
    }

    float decay_of(double x) const {
        alignas(64) std::array<float, 16> values{static_cast<float>(x)};
        kernels_.decays(values.data(), values.size(), values.data());
        return values[0];
    }

    const Kernels& kernels_;
    const StatePool& pool_;
    std::size_t layer_, head_;
    const Segment& segment_;
    std::size_t start_, key_dim_, key_stride_, value_stride_;
    float* keys_;      // of the block's rows, [key_dim, 64]
    float* queries_;   // the key and the query of each row, [count, 2, key_stride]
    float* dots_;      // their products with the block's keys, [count, 2, 64]
    float* factors_;   // of the row at hand: of δ_j in δ, and in the output, [2, 64]
    float* products_;  // of keys and queries with the state, [count, 2, value_stride]
    float* weighted_;  // [key_dim, 64]
};

}  // namespace

void Convolve::run(Run& run, std::size_t, std::size_t first, std::size_t last) const {
    const std::size_t width = run.slots[x_].width;
    for (std::size_t item = first; item < last; ++item) {
        const std::size_t begin = item % chunks(run) * kColumns;
        convolve(run, item / chunks(run), begin, std::min(begin + kColumns, width));
    }
}

void Convolve::convolve(Run& run, std::size_t sequence, std::size_t begin, std::size_t end) const {
    const StateWork& work = run.state_work[states_];
    const StatePool& pool = work.pool();
    const Slot &x = run.slots[x_], &out = run.slots[out_];
    const std::size_t n = end - begin, before = pool.shape().conv_width - 1, ring_rows = pool.ring_rows();
    const std::size_t channels = pool.channels();
    const auto row_in = [&](const StatePool::Conv& kept, std::size_t position) {
        return kept.ring + position % ring_rows * channels + begin;
    };
    for (const Segment& segment : work.segments(sequence)) {
        const StatePool::Conv kept = pool.conv(segment.slot, layer_), from = pool.conv(segment.source, layer_);
        const std::size_t block = segment.position - segment.row();
        // The rows before the block: zeros, those that the source had before its block, or its last ones.
        for (std::size_t j = 0; j < before && segment.origin != Origin::continues; ++j) {
            float* row = kept.before + j * channels + begin;
            if (segment.origin == Origin::zeros)
                std::fill_n(row, n, 0.0f);
            else
                std::copy_n(segment.origin == Origin::copies ? from.before + j * channels + begin
                                                             : row_in(from, block - before + j),
                            n, row);
        }
        for (std::size_t i = 0; i < segment.count; ++i) {
            // Row j is at position + j - before: one of those before the block, of this pass, or of an earlier one.
            std::array<const float*, StateGroup::kMaxConvWidth> rows;
            const std::size_t position = segment.position + i;
            for (std::size_t j = 0; j <= before; ++j) {
                const std::size_t ahead = position + j;
                rows[j] = ahead < block + before ? kept.before + (ahead - block) * channels + begin
                          : ahead >= segment.position + before
                              ? x.row(segment.first + ahead - before - segment.position) + begin
                              : row_in(kept, ahead - before);
            }
            float* sums = out.row(segment.first + i) + begin;
            for (std::size_t c = 0; c < n; c += 16) {
                std::array<float, 16> sum{};
                for (std::size_t j = 0; j <= before; ++j) {
                    const float *row = rows[j] + c, *weight = weight_.data() + j * x.stride + begin + c;
                    for (std::size_t l = 0; l < 16; ++l) sum[l] += row[l] * weight[l];
                }
                std::copy(sum.begin(), sum.end(), sums + c);
            }
            run.kernels.gated(Activation::silu, sums, ones_.data(), padded_to(n, 16), sums);
        }
        // After the last read, because rows lie in a ring. Of a long segment only the last ones can be asked for.
        for (std::size_t i = segment.count - std::min(segment.count, ring_rows); i < segment.count; ++i)
            std::copy_n(x.row(segment.first + i) + begin, n, row_in(kept, segment.position + i));
    }
}

std::size_t DeltaRule::scratch(const Kernels&) const {
    return KeyHead::scratch(shape_.group);
}

void DeltaRule::run(Run& run, std::size_t thread, std::size_t first, std::size_t last) const {
    const StateWork& work = run.state_work[shape_.states];
    const auto& [states, layer, group, is_tiled] = shape_;
    const std::size_t shared = group.value_heads / group.key_heads, keys = group.key_heads * group.key_dim;
    const Slot &x = run.slots[x_], &out = run.slots[out_];
    std::array<double, kBlockSize> log_decay;
    std::array<float, kBlockSize> beta;
    for (std::size_t item = first; item < last; ++item) {
        const std::size_t head = item % group.key_heads;
        const auto value_head = [&](std::size_t i) {
            return is_tiled ? i * group.key_heads + head : head * shared + i;
        };
        for (const Segment& segment : work.segments(item / group.key_heads)) {
            KeyHead rule(run.kernels, work.pool(), layer, head, segment, run.scratch[thread].get());
            for (std::size_t i = 0; i < shared; ++i) rule.begin_block(value_head(i));
            const float* row = x.row(segment.first);
            rule.take_rows(row + head * group.key_dim, row + keys + head * group.key_dim, x.stride);
            for (std::size_t i = 0; i < shared; ++i) {
                const std::size_t h = value_head(i);
                for (std::size_t r = 0; r < segment.count; ++r) {
                    const double a = static_cast<double>(run.slots[a_].row(segment.first + r)[h] + bias_[h]);
                    const double b = static_cast<double>(run.slots[b_].row(segment.first + r)[h]);
                    log_decay[r] = decay_[h] * (std::max(a, 0.0) + std::log1p(std::exp(-std::fabs(a))));
                    beta[r] = static_cast<float>(1.0 / (1.0 + std::exp(-b)));
                }
                rule.rows(h, log_decay.data(), beta.data(), row + 2 * keys + h * group.value_dim, x.stride,
                          out.row(segment.first) + h * group.value_dim, out.stride);
            }
        }
    }
}

}  // namespace sterna

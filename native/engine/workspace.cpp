#include "workspace.hpp"

#include <algorithm>
#include <numeric>
#include <stdexcept>

namespace sterna {
namespace {

std::size_t whole_lines(std::size_t bytes) {
    return (bytes + 63) / 64 * 64;
}

bool meet(const std::vector<bool>& a, const std::vector<bool>& b) {
    for (std::size_t phase = 0; phase < a.size(); ++phase)
        if (a[phase] && b[phase]) return true;
    return false;
}

}  // namespace

void Slot::require(Quantizer quantizer) {
    int8 = int8 || quantizer == Quantizer::int8;
    int15 = int15 || quantizer == Quantizer::int15;
}

std::size_t Slot::place(std::byte* memory, std::size_t tokens) {
    std::size_t used = 0;
    const auto take = [&]<class T>(T*& array, std::size_t n) {
        array = memory == nullptr ? nullptr : reinterpret_cast<T*>(memory + used);
        used += whole_lines(n * sizeof(T));
    };
    take(values, tokens * stride);
    if (int8) {
        take(codes, tokens * stride);
        take(scales, tokens);
        take(sums, tokens);
    }
    if (int15) {
        take(high, tokens * stride);
        take(low, tokens * stride);
        take(high_sums, tokens * stride / 16);
        take(low_sums, tokens * stride / 16);
        take(eights, tokens * stride / 4);
        take(int15_scales, tokens);
    }
    return used;
}

void Slot::quantize(const Kernels& kernels, std::size_t token) {
    const std::size_t at = token * stride;
    if (int8) kernels.quantize_int8(row(token), stride, codes + at, scales + token, sums + token);
    if (int15)
        kernels.quantize_int15(
            row(token), stride,
            {high + at, low + at, high_sums + at / 16, low_sums + at / 16, eights + at / 4, int15_scales + token});
}

Activations Slot::activations(std::size_t n_tokens) const {
    return {n_tokens,
            stride,
            values,
            {codes, sums, scales, stride},
            {high, low, high_sums, low_sums, eights, int15_scales, stride}};
}

Layout lay_out(const std::vector<std::size_t>& sizes, const std::vector<std::vector<bool>>& in_use) {
    std::vector<std::size_t> order(sizes.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return sizes[a] > sizes[b]; });
    Layout layout{std::vector<std::size_t>(sizes.size()), 0};
    std::vector<std::size_t> placed;
    for (const std::size_t i : order) {
        std::size_t& offset = layout.offsets[i];
        const auto in_the_way = [&](std::size_t j) {
            return offset < layout.offsets[j] + sizes[j] && layout.offsets[j] < offset + sizes[i] &&
                   meet(in_use[i], in_use[j]);
        };
        for (auto j = placed.begin(); (j = std::find_if(placed.begin(), placed.end(), in_the_way)) != placed.end();)
            offset = layout.offsets[*j] + sizes[*j];
        placed.push_back(i);
        layout.bytes = std::max(layout.bytes, offset + sizes[i]);
    }
    return layout;
}

void Batch::check(std::size_t vocab_size, std::size_t pool_blocks) {
    const auto require = [](bool good, const char* what) {
        if (!good) throw std::invalid_argument(std::string("A batch is malformed: ") + what + ".");
    };
    const auto n = tokens.size();
    require(n > 0 && positions.size() == n, "tokens and positions differ in length or are empty");
    require(cu_seqlens.size() >= 2 && cu_seqlens.front() == 0 && cu_seqlens.back() == static_cast<std::int32_t>(n),
            "cu_seqlens must run from 0 to the number of tokens");
    require(std::is_sorted(cu_seqlens.begin(), cu_seqlens.end()), "cu_seqlens must not fall");
    const std::size_t n_seqs = cu_seqlens.size() - 1;
    require(block_tables.size() == n_seqs * table_width, "block_tables must have one row a sequence");
    sequence_of.resize(n);
    for (std::size_t s = 0; s < n_seqs; ++s)
        std::fill(sequence_of.begin() + cu_seqlens[s], sequence_of.begin() + cu_seqlens[s + 1],
                  static_cast<std::int32_t>(s));
    for (std::size_t t = 0; t < n; ++t) {
        require(tokens[t] >= 0 && static_cast<std::size_t>(tokens[t]) < vocab_size,
                "a token id is outside the vocabulary");
        require(positions[t] >= 0 && position(t) / kBlockSize < table_width, "a position is outside its block table");
        const bool follows = t > 0 && sequence_of[t] == sequence_of[t - 1] && positions[t] == positions[t - 1] + 1;
        if (follows && stretches.back().count < Stretch::kMost)
            ++stretches.back().count;
        else
            stretches.push_back({t, 1});
        // A token reads every block up to its own.
        if (!follows) {
            const std::int32_t* blocks = blocks_of(t);
            for (std::size_t b = 0; b <= position(t) / kBlockSize; ++b)
                require(blocks[b] >= 0 && static_cast<std::size_t>(blocks[b]) < pool_blocks,
                        "a block is outside the pool");
        } else {
            const std::int32_t block = blocks_of(t)[position(t) / kBlockSize];
            require(block >= 0 && static_cast<std::size_t>(block) < pool_blocks, "a block is outside the pool");
        }
    }
    for (const std::int32_t row : output_rows)
        require(row >= 0 && static_cast<std::size_t>(row) < n, "an output row is outside the batch");
}

}  // namespace sterna

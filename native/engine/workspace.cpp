#include "workspace.hpp"

#include <algorithm>
#include <stdexcept>

namespace sterna {

void Slot::require(Operand operand) {
    int8 = int8 || operand == Operand::int8;
    wide = wide || operand == Operand::wide;
}

void Slot::resize(std::size_t tokens) {
    values = Buffer<float>(tokens * stride);
    if (int8) {
        codes = Buffer<std::int8_t>(tokens * stride);
        scales = Buffer<float>(tokens);
        sums = Buffer<std::int32_t>(tokens);
    }
    if (wide) {
        high = Buffer<std::int8_t>(tokens * stride);
        low = Buffer<std::int8_t>(tokens * stride);
        high_sums = Buffer<std::int16_t>(tokens * stride / 16);
        low_sums = Buffer<std::int16_t>(tokens * stride / 16);
        eights = Buffer<std::int32_t>(tokens * stride / 4);
        wide_scales = Buffer<float>(tokens);
    }
}

void Slot::quantize(const Kernels& kernels, std::size_t token) {
    const std::size_t at = token * stride;
    if (int8) kernels.quantize(row(token), stride, codes.get() + at, scales.get() + token, sums.get() + token);
    if (wide)
        kernels.quantize_wide(row(token), stride, high.get() + at, low.get() + at, high_sums.get() + at / 16,
                              low_sums.get() + at / 16, eights.get() + at / 4, wide_scales.get() + token);
}

Activations Slot::activations(std::size_t n_tokens) const {
    return {n_tokens,
            stride,
            values.get(),
            {codes.get(), sums.get(), scales.get(), stride},
            {high.get(), low.get(), high_sums.get(), low_sums.get(), eights.get(), wide_scales.get(), stride}};
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

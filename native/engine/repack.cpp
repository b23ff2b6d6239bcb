#include "repack.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <stdexcept>

#include "../kernels/dispatch.hpp"

namespace sterna {
namespace {

constexpr std::size_t kMostBlock = 256;
constexpr std::uint8_t kZero = 1;  // the field of the code 0

// Each of `Size` bytes holds `Digits` fields in base 3, as a fraction of 256: multiplying by 3 moves the next field
// above bit 7.
template <std::size_t Size, std::size_t Digits>
std::uint8_t* take_digits(const std::uint8_t* q, std::uint8_t* fields) {
    std::uint8_t rest[Size];
    std::memcpy(rest, q, Size);
    for (std::size_t digit = 0; digit < Digits; ++digit, fields += Size)
        for (std::size_t b = 0; b < Size; ++b) {
            const auto shifted = static_cast<std::uint16_t>(rest[b] * 3);
            fields[b] = static_cast<std::uint8_t>(shifted >> 8);
            rest[b] = static_cast<std::uint8_t>(shifted);
        }
    return fields;
}

void tq1_0_fields(const std::uint8_t* block, std::uint8_t* fields) {
    take_digits<4, 4>(block + 48, take_digits<16, 5>(block + 32, take_digits<32, 5>(block, fields)));
}

void ptq1_0_fields(const std::uint8_t* block, std::uint8_t* fields) {
    take_digits<2, 4>(block + 24, take_digits<8, 5>(block + 16, take_digits<16, 5>(block, fields)));
}

void tq2_0_fields(const std::uint8_t* block, std::uint8_t* fields) {
    for (std::size_t half = 0; half < 2; ++half, block += 32)
        for (unsigned shift = 0; shift < 8; shift += 2, fields += 32)
            for (std::size_t b = 0; b < 32; ++b) {
                const auto field = static_cast<std::uint8_t>(block[b] >> shift & 3);
                fields[b] = field == 3 ? kZero : field;
            }
}

// Fields of `Bits` bits, the first in the lowest; a bit stands for -1 or +1.
template <std::size_t Block, unsigned Bits>
void low_first_fields(const std::uint8_t* block, std::uint8_t* fields) {
    constexpr unsigned kPerByte = 8 / Bits, kStep = Bits == 1 ? 2 : 1;
    for (std::size_t j = 0; j < Block; ++j)
        fields[j] = static_cast<std::uint8_t>(
            (block[2 + j / kPerByte] >> (Bits * (j % kPerByte)) & ((1u << Bits) - 1)) * kStep);
}

// Quadruple g of weights is the nibble 4 * (place of the 0) + b, and a sign; of the other three weights the first is
// +1, the second -1 if bit 0 of b is set, the third -1 if bit 1 is.
void stq1_0_fields(const std::uint8_t* block, std::uint8_t* fields) {
    for (std::size_t g = 0; g < 64; ++g) {
        const unsigned nibble = block[g / 2] >> (4 * (g % 2)) & 15, zero = nibble >> 2;
        const bool negate = (block[32 + g / 8] >> (g % 8) & 1) != 0;
        for (unsigned place = 0, other = 0; place < 4; ++place) {
            std::uint8_t& field = fields[g / 16 * 64 + g % 16 + 16 * place];
            if (place == zero) {
                field = kZero;
                continue;
            }
            const bool negative = other > 0 && (nibble >> (other - 1) & 1) != 0;
            field = negative != negate ? 0 : 2;
            ++other;
        }
    }
}

constexpr TernaryBlocks kLayouts[] = {
    {"tq1_0", 256, 54, 52, tq1_0_fields},         {"tq2_0", 256, 66, 64, tq2_0_fields},
    {"q2_0", 64, 18, 0, low_first_fields<64, 2>}, {"pq2_0", 128, 34, 0, low_first_fields<128, 2>},
    {"ptq1_0", 128, 28, 26, ptq1_0_fields},       {"q1_0", 128, 18, 0, low_first_fields<128, 1>},
    {"stq1_0", 256, 42, 40, stq1_0_fields},
};

// A block of 128 fields as I2_S.
void pack(const std::uint8_t* f, std::uint8_t* out) {
    for (std::size_t b = 0; b < 32; ++b)
        out[b] = static_cast<std::uint8_t>(f[b] << 6 | f[b + 32] << 4 | f[b + 64] << 2 | f[b + 96]);
}

}  // namespace

// Every load checks all ternary weights here, so the loop takes 32 bytes at a time.
bool i2s_has_code_3(std::span<const std::uint8_t> codes) {
    constexpr std::uint64_t kLowBits = 0x5555555555555555;
    std::uint64_t both = 0;
    std::size_t at = 0;
    for (std::array<std::uint64_t, 4> words; at + sizeof words <= codes.size(); at += sizeof words) {
        std::memcpy(words.data(), codes.data() + at, sizeof words);
        for (const std::uint64_t word : words) both |= word & (word >> 1);
    }
    for (; at < codes.size(); ++at) both |= codes[at] & (codes[at] >> 1);
    return (both & kLowBits) != 0;
}

const TernaryBlocks& ternary_blocks(const std::string& encoding) {
    const auto* found = std::find_if(std::begin(kLayouts), std::end(kLayouts),
                                     [&](const TernaryBlocks& layout) { return encoding == layout.name; });
    if (found == std::end(kLayouts))
        throw std::invalid_argument("The encoding '" + encoding + "' has no blocks that become I2_S.");
    return *found;
}

Repacked to_i2s(const TernaryBlocks& layout, std::span<const std::uint8_t> blocks, std::size_t columns,
                std::uint8_t* codes) {
    const std::size_t row_blocks = columns / layout.block;
    if (row_blocks == 0 || columns % layout.block != 0 || blocks.size() % (row_blocks * layout.bytes) != 0)
        throw std::invalid_argument("The data is no whole number of rows.");
    const std::size_t n = blocks.size() / layout.bytes;
    std::vector<std::uint8_t> halfs(2 * n);
    std::vector<float> scales(n);
    for (std::size_t i = 0; i < n; ++i) std::memcpy(&halfs[2 * i], &blocks[i * layout.bytes + layout.scale], 2);
    kernels_for("scalar").decode(Encoding::f16, halfs.data(), n, scales.data());

    const float* shared = nullptr;
    bool all_share = true;
    unsigned seen = 0;
    std::vector<std::uint8_t> row(padded(columns) + kMostBlock, kZero);
    for (std::size_t i = 0; i < n; ++i) {
        std::uint8_t* fields = &row[i % row_blocks * layout.block];
        layout.fields(&blocks[i * layout.bytes], fields);
        if (scales[i] == 0.0f) std::fill_n(fields, layout.block, kZero);
        unsigned differs = 0, threes = 0;
        for (std::size_t k = 0; k < layout.block; ++k) {
            differs |= fields[k] ^ kZero;
            threes |= fields[k] & (fields[k] >> 1);
        }
        seen |= threes;
        if (differs != 0 || scales[i] - scales[i] != 0.0f) {  // not zeros with a finite scale
            if (shared == nullptr) shared = &scales[i];
            all_share = all_share && scales[i] == *shared;
        }
        if ((i + 1) % row_blocks == 0)
            for (std::size_t k = 0; k < padded(columns); k += kPad, codes += kPad / 4) pack(&row[k], codes);
    }
    if (all_share) scales = {shared == nullptr ? 0.0f : *shared};
    return {std::move(scales), (seen & 1) != 0};
}

}  // namespace sterna

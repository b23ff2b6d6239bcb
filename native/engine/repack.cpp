#include "repack.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <stdexcept>

#include "../kernels/dispatch.hpp"
#include "../kernels/trits.hpp"

namespace sterna {
namespace {

constexpr std::size_t kI2sBytes = kTqBlock / 4;
constexpr std::uint8_t kZeros = 0x55;  // the field 1, which is the code 0, four times

// A block of TQ1_0: 52 bytes of fields, then a float16 scale.
struct Tq1 {
    static constexpr std::size_t kBytes = 54, kScale = 52;
    static void codes(const std::uint8_t* block, std::uint8_t* out) {
        std::uint8_t fields[kTqBlock];
        take_digits<4, 4>(block + 48, take_digits<16, 5>(block + 32, take_digits<32, 5>(block, fields)));
        for (const std::uint8_t* f = fields; f < fields + kTqBlock; f += 128, out += 32)
            for (std::size_t b = 0; b < 32; ++b)
                out[b] = static_cast<std::uint8_t>(f[b] << 6 | f[b + 32] << 4 | f[b + 64] << 2 | f[b + 96]);
    }
};

// A block of TQ2_0: 64 bytes as in I2_S, but with the fields of each byte in reverse order, then a float16 scale.
struct Tq2 {
    static constexpr std::size_t kBytes = 66, kScale = 64;
    static void codes(const std::uint8_t* block, std::uint8_t* out) {
        for (std::size_t b = 0; b < kI2sBytes; ++b) {
            const unsigned threes = block[b] & (block[b] >> 1) & kZeros, q = block[b] ^ threes << 1;
            out[b] = static_cast<std::uint8_t>((q & 0x03) << 6 | (q & 0x0c) << 2 | (q & 0x30) >> 2 | q >> 6);
        }
    }
};

template <class Tq>
std::vector<float> repack(std::span<const std::uint8_t> blocks, std::uint8_t* codes) {
    const std::size_t n = blocks.size() / Tq::kBytes;
    std::vector<std::uint8_t> halfs(2 * n);
    std::vector<float> scales(n);
    for (std::size_t i = 0; i < n; ++i) std::memcpy(&halfs[2 * i], blocks.data() + i * Tq::kBytes + Tq::kScale, 2);
    kernels_for("scalar").decode(Encoding::f16, halfs.data(), n, scales.data());

    const float* shared = nullptr;
    bool all_share = true;
    for (std::size_t i = 0; i < n; ++i, codes += kI2sBytes) {
        Tq::codes(blocks.data() + i * Tq::kBytes, codes);
        if (scales[i] == 0.0f) std::memset(codes, kZeros, kI2sBytes);
        unsigned differs = 0;
        for (std::size_t b = 0; b < kI2sBytes; ++b) differs |= codes[b] ^ kZeros;
        if (differs == 0 && scales[i] - scales[i] == 0.0f) continue;  // zeros, with a finite scale
        if (shared == nullptr) shared = &scales[i];
        all_share = all_share && scales[i] == *shared;
    }
    if (all_share) scales = {shared == nullptr ? 0.0f : *shared};
    return scales;
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

std::size_t tq_block_bytes(const std::string& encoding) {
    if (encoding == "tq1_0") return Tq1::kBytes;
    if (encoding == "tq2_0") return Tq2::kBytes;
    throw std::invalid_argument("The encoding '" + encoding + "' is not TQ1_0 or TQ2_0.");
}

std::vector<float> tq_to_i2s(const std::string& encoding, std::span<const std::uint8_t> blocks, std::uint8_t* codes) {
    if (blocks.size() % tq_block_bytes(encoding) != 0)
        throw std::invalid_argument("The data is no whole number of blocks.");
    return encoding == "tq1_0" ? repack<Tq1>(blocks, codes) : repack<Tq2>(blocks, codes);
}

}  // namespace sterna

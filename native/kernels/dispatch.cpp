#include "dispatch.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <memory>
#include <stdexcept>

#include "../platform/system.hpp"
#include "int15_vectors.hpp"

#if defined(__x86_64__)
#include "x86_features.hpp"
#endif

namespace sterna {

extern const Kernels kScalarKernels;
#if defined(__x86_64__)
extern const Kernels kAvx2Kernels;
extern const Kernels kAvxVnniKernels;
extern const Kernels kAvx512VnniKernels;
const Kernels& amx_kernels();
#elif defined(__aarch64__)
extern const Kernels kNeonKernels;
extern const Kernels kNeonI8mmKernels;
#endif

namespace {

std::vector<const Kernels*> detect() {
    std::vector<const Kernels*> found;
#if defined(__x86_64__)
    const X86Features& has = x86_features();
    if (has.amx) found.push_back(&amx_kernels());
    if (has.avx512_vnni) found.push_back(&kAvx512VnniKernels);
    if (has.avx_vnni) found.push_back(&kAvxVnniKernels);
    if (has.avx2) found.push_back(&kAvx2Kernels);
#elif defined(__aarch64__)
    const ArmFeatures has = arm_features();
    if (has.dot_product) found.push_back(&kNeonKernels);
    // Not the default, so it runs only if asked for by name: emulators show that it is right, but no processor has
    // shown that it is faster.
    if (has.dot_product && has.i8mm) found.push_back(&kNeonI8mmKernels);
#endif
    found.push_back(&kScalarKernels);
    return found;
}

// xorshift32: the known-answer check needs the same inputs everywhere, not good randomness.
struct Noise {
    std::uint32_t state = 2463534242u;
    std::uint32_t next() {
        state ^= state << 13;
        state ^= state >> 17;
        return state ^= state << 5;
    }
    float real() { return static_cast<float>(static_cast<std::int32_t>(next())) * 0x1p-30f; }
};

struct Answers {
    std::array<float, 3 * (3 + 21 + kLookupGroup + 3 + 21 + kLookupGroup)> dots{};
    std::array<float, 6 * 256> floats{};
    std::array<float, 3 * (3 + 21)> int4{};
    std::array<float, (3 + 4) * 64> rotated{};
    std::array<std::int8_t, (3 + 4) * 64> rotated_codes{};
    bool operator==(const Answers& other) const { return std::memcmp(this, &other, sizeof(Answers)) == 0; }
};

Answers answers(const Kernels& k) {
    constexpr std::size_t kCols = 1280, kRows = 3, kFew = 3, kTiled = 21, kTokens = kLookupGroup, kN = 256;
    Noise noise;
    Answers result;
    std::vector<std::uint8_t> rows(kRows * kCols / 4);
    for (auto& byte : rows) {
        byte = 0;
        for (int shift = 0; shift < 8; shift += 2) byte = static_cast<std::uint8_t>(byte | (noise.next() % 3) << shift);
    }
    std::vector<std::int8_t> x(kTokens * kCols);
    for (auto& v : x) v = static_cast<std::int8_t>(noise.next());
    std::array<std::int32_t, kTokens> sums{};
    for (std::size_t t = 0; t < kTokens; ++t)
        for (std::size_t i = 0; i < kCols; ++i) sums[t] += x[t * kCols + i];
    std::array<float, kTokens> scales{};
    for (std::size_t t = 0; t < kTokens; ++t) scales[t] = static_cast<float>(t + 1);
    const Int8Activations codes_x{x.data(), sums.data(), scales.data(), kCols};
    float* dots = result.dots.data();
    const auto task = [&](std::size_t n_tokens) {
        return TernaryTask{{rows.data(), kCols / 4, kRows}, 0.7f, codes_x, n_tokens, kCols, {dots, kRows}};
    };
    k.ternary_dot(task(kFew));  // row by row
    dots += kFew * kRows;
    k.ternary_dot(task(kTiled));
    dots += kTiled * kRows;
    std::vector<float> lookup_scratch(kLookupScratch / sizeof(float) + 16);
    void* scratch = lookup_scratch.data();
    std::size_t space = lookup_scratch.size() * sizeof(float);
    std::align(64, kLookupScratch, scratch, space);
    if (k.lookup_dot != nullptr)
        k.lookup_dot(task(kTokens), static_cast<std::uint8_t*>(scratch));
    else
        k.ternary_dot(task(kTokens));
    dots += kTokens * kRows;
    std::vector<std::uint8_t> ternary_panel(4 * kCols);
    k.pack_ternary_panels({rows.data(), kCols / 4, kRows}, kCols, ternary_panel.data());
    for (const std::size_t n_tokens : {kFew, kTiled, kTokens}) {
        const TernaryPanelTask panel_task{ternary_panel.data(), kRows, 0.7f, codes_x, n_tokens, kCols, 0,
                                          {dots, kRows}};
        if (n_tokens == kTokens && k.panel_lookup_dot != nullptr)
            k.panel_lookup_dot(panel_task, static_cast<std::uint8_t*>(scratch));
        else
            k.ternary_panel_dot(panel_task);
        dots += n_tokens * kRows;
    }

    std::vector<float> a(kN), b(kN);
    for (auto& v : a) v = noise.real();
    for (auto& v : b) v = noise.real();
    float* out = result.floats.data();
    k.rms_norm(a.data(), b.data(), 1e-5f, kN, out);
    k.gated(Activation::silu, a.data(), b.data(), kN, out + kN);
    // Added to the norm; rows of b overlap.
    k.add_products({a.data(), 16, b.data(), 8, out, 80, 3, 16, 80});

    // Two tokens that see a window of 70 of 100 positions, computed in two parts that are merged.
    constexpr std::size_t kHead = 64, kTwo = 2;
    std::size_t place = 2 * kN;
    for (const KvType type : {KvType::f16, KvType::int8, KvType::f32}) {
        const std::size_t bytes = kv_head_bytes(type, kHead);
        std::vector<float> pool(kTwo * bytes / sizeof(float));
        auto* blocks = reinterpret_cast<std::uint8_t*>(pool.data());
        for (std::size_t position = 0; position < kTwo * kBlockSize; ++position)
            k.store_kv(type, a.data() + position % (kN - kHead), b.data() + position % (kN - kHead), kHead, kHead,
                       position % kBlockSize, blocks + position / kBlockSize * bytes);
        const std::array<std::int32_t, kTwo> table{1, 0};
        std::vector<float> scratch(attention_scratch(kTwo, kHead));
        std::array<std::array<float, attention_sums(kTwo, kHead)>, kTwo> sums{};
        for (std::size_t part = 0; part < kTwo; ++part)
            k.attention({.q = a.data(),
                         .q_stride = kHead,
                         .n_tokens = kTwo,
                         .group = 1,
                         .head_dim = kHead,
                         .head_stride = kHead,
                         .type = type,
                         .pool = blocks,
                         .blocks = table.data(),
                         .block_stride = bytes,
                         .position = 98,
                         .window = 70,
                         .first = part * kBlockSize,
                         .last = part == 0 ? kBlockSize : 100,
                         .scale = 0.125f,
                         .sums = attention_sums_at(sums[part].data(), kTwo, kHead),
                         .scratch = scratch.data()});
        const AttentionSums whole = attention_sums_at(sums[0].data(), kTwo, kHead);
        k.merge_attention(whole, attention_sums_at(sums[1].data(), kTwo, kHead), kTwo, kHead);
        k.finish_attention(whole, 0, kTwo, kHead, kHead, out + place);
        place += kTwo * kHead;
    }

    std::array<std::int8_t, kN> codes{};
    std::int32_t sum = 0;
    k.quantize_int8(a.data(), kN, codes.data(), out + 4 * kN, &sum);
    for (std::size_t i = 1; i < kN; ++i) out[4 * kN + i] = static_cast<float>(codes[i] + sum);

    // 104 blocks of Q8_0, 13 of Q6_K, then 104 of Q4_0, all read from the same bytes, with their scales made finite.
    constexpr std::size_t kInt15 = 3328;
    std::vector<std::uint8_t> blocks_q(17 * 210);
    for (auto& byte : blocks_q) byte = static_cast<std::uint8_t>(noise.next());
    std::vector<float> values(kInt15);
    for (auto& v : values) v = noise.real();
    const Int15Vectors int15(k, values.data(), 1, kInt15);
    const auto multiply = [&](Encoding encoding, float* product) {
        const Format& format = format_of(encoding);
        const std::size_t bytes = kInt15 / format.values * format.bytes;
        k.int15_dot({encoding, {blocks_q.data(), bytes, 1}, int15.view(), 1, kInt15, {product, 1}});
    };
    for (std::size_t i = 0; i + 34 <= blocks_q.size(); i += 34) blocks_q[i + 1] = 0x20;
    multiply(Encoding::q8_0, out + 5 * kN);
    for (std::size_t i = 0; i < 17; ++i) blocks_q[i * 210 + 209] = 0x20;
    multiply(Encoding::q6_k, out + 5 * kN + 1);
    const auto* floats = reinterpret_cast<const std::uint8_t*>(a.data());
    k.float_dot({Encoding::f32, {floats, kN * 4, 1}, {b.data(), kN}, 1, kN, {out + 5 * kN + 2, 1}});
    for (std::size_t i = 0; i < kInt15 / 32; ++i) blocks_q[i * 18 + 1] = 0x20;
    multiply(Encoding::q4_0, out + 5 * kN + 3);

    // The same bytes as panels of two rows: row by row for the first token, then in tiles for six equal ones.
    constexpr std::size_t kSame = 6, kPanelCols = kInt15 / 2;
    const Encoding q4_0 = Encoding::q4_0;
    std::vector<std::uint8_t> panels(k.panel_bytes(q4_0, kPanelCols));
    k.pack_panels(q4_0, {blocks_q.data(), kPanelCols / 32 * 18, 2}, kPanelCols, panels.data());
    std::vector<float> same;
    for (std::size_t t = 0; t < kSame; ++t) same.insert(same.end(), values.begin(), values.begin() + kPanelCols);
    const Int15Vectors tokens(k, same.data(), kSame, kPanelCols);
    k.panel_dot({q4_0, panels.data(), 2, tokens.view(), 1, kPanelCols, {out + 5 * kN + 4, 2}});
    k.panel_dot({q4_0, panels.data(), 2, tokens.view(), kSame, kPanelCols, {out + 5 * kN + 6, 2}});

    // INT4 in groups of 64 columns, for few tokens and for so many that tiles multiply them.
    constexpr std::size_t kGroup = 64, kGroups = 4, kBlock = 4 + kGroup / 2;
    std::vector<std::uint8_t> int4(kRows * kGroups * kBlock), int4_panel(int4_panel_bytes(kGroups * kGroup, kGroup));
    for (auto& byte : int4) byte = static_cast<std::uint8_t>(noise.next());
    for (std::size_t i = 0; i < int4.size(); i += kBlock) int4[i + 1] = int4[i + 3] = 0x48;  // from 8 to 10
    k.pack_int4_panels({int4.data(), kGroups * kBlock, kRows}, kGroups * kGroup, kGroup, int4_panel.data());
    std::vector<float> group_sums(kTiled * kGroups), factors(kTiled * kGroups);
    for (std::size_t t = 0; t < kTiled; ++t)
        for (std::size_t i = 0; i < kGroups * kGroup; ++i) group_sums[t * kGroups + i / kGroup] += x[t * kCols + i];
    for (auto& factor : factors) factor = noise.real();
    for (const std::size_t n_tokens : {kFew, kTiled})
        k.int4_dot({int4_panel.data(),
                    kRows,
                    kGroups * kGroup,
                    kGroup,
                    {{x.data(), group_sums.data()}, {}},
                    1,
                    factors.data(),
                    kCols,
                    n_tokens,
                    {result.int4.data() + (n_tokens == kFew ? 0 : kFew * kRows), kRows}});

    // One rotation of neighbours in two groups of 32 columns, for single tokens and for a tile of them.
    constexpr std::size_t kHalf = 16, kRotated = 4 * kHalf;
    std::array<std::uint16_t, kRotated> pairs{};
    std::array<std::uint8_t, 2 * kRotated> places{};
    for (std::size_t i = 0; i < kRotated; ++i) {
        const std::size_t c = i % (2 * kHalf);
        pairs[i] = static_cast<std::uint16_t>(16 * c);
        places[i] = static_cast<std::uint8_t>(c % kHalf * 2 + c / kHalf);
        places[kRotated + i] = static_cast<std::uint8_t>(c % 2 * kHalf + c / 2);
    }
    float* rotated = result.rotated.data();
    std::int8_t* rotated_codes = result.rotated_codes.data();
    std::array<float, 4 * 2> code_scales{};
    std::array<std::int32_t, 4 * 2> code_sums{};
    for (const std::size_t n_tokens : {std::size_t{3}, std::size_t{4}}) {
        const Int8Rows quantized{rotated_codes, kRotated, code_scales.data(), code_sums.data(), 2, 2 * kHalf};
        k.rotate({1, 2, 2 * kHalf, 0, 2, b.data(), a.data(), a.data() + 2 * kHalf, pairs.data(), places.data(),
                  a.data(), 48, rotated, kRotated, n_tokens, quantized});
        rotated += n_tokens * kRotated;
        rotated_codes += n_tokens * kRotated;
    }
    return result;
}

}  // namespace

std::span<const Kernels* const> available_kernels() {
    static const std::vector<const Kernels*> found = detect();
    return found;
}

const Kernels& kernels_for(const std::string& isa) {
    const auto all = available_kernels();
    if (isa.empty()) return *all.front();
    const auto match = std::find_if(all.begin(), all.end(), [&](const Kernels* k) { return isa == k->isa; });
    if (match != all.end()) return **match;
    std::string names;
    for (const Kernels* k : all) names += std::string(names.empty() ? "" : ", ") + k->isa;
    throw std::invalid_argument("The instruction set '" + isa + "' is unknown or this processor lacks it; it has " +
                                names + ".");
}

std::size_t fetch_distance() {
    constexpr std::size_t kAhead = 16384;
#if defined(__x86_64__)
    return x86_features().is_amd ? 0 : kAhead;
#else
    return kAhead;
#endif
}

bool known_answers_hold(const Kernels& kernels) {
    return answers(kernels) == answers(kScalarKernels);
}

}  // namespace sterna

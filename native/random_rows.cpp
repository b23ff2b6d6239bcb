#include "random_rows.hpp"

#include <cstring>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "engine/buffer.hpp"
#include "engine/tensor.hpp"
#include "kernels/int15_vectors.hpp"

namespace sterna {
namespace {

using Random = std::mt19937;

std::size_t below(Random& random, std::size_t n) {
    return random() % n;
}

// The sizes of one call, mostly small, so that there are many calls.
struct Case {
    std::size_t n_rows, n_tokens, blocks, out_stride;
    explicit Case(Random& random)
        : n_rows(1 + below(random, 100)),
          n_tokens(1 + below(random, below(random, 8) == 0 ? 70 : 9)),
          blocks(1 + below(random, below(random, 16) == 0 ? 55 : 4)),
          out_stride(n_rows + below(random, 9)) {}
};

// `call` must leave the same bytes in the output as `expect` does, including those between the output's rows.
template <class Expect, class Call>
void compare(const Case& sizes, const char* what, const Expect& expect, const Call& call) {
    std::vector<float> expected(sizes.n_tokens * sizes.out_stride, 12345.0f), got = expected;
    expect(expected.data());
    call(got.data());
    if (std::memcmp(expected.data(), got.data(), got.size() * sizeof(float)) != 0)
        throw std::runtime_error(std::string(what) + " rows differ: " + std::to_string(sizes.n_rows) + " rows, " +
                                 std::to_string(sizes.n_tokens) + " tokens, " + std::to_string(sizes.blocks) +
                                 " blocks");
}

// The definition of ternary_dot, written so that compilers can vectorise it.
void plain_ternary_dot(const TernaryTask& task) {
    const auto& [rows, scale, x, n_tokens, cols, out] = task;
    std::vector<std::int8_t> w(cols);
    for (std::size_t r = 0; r < rows.count; ++r) {
        for (std::size_t k = 0; k < cols; ++k) {
            const int byte = rows.data[r * rows.stride + k / 128 * 32 + k % 32];
            w[k] = static_cast<std::int8_t>((byte >> (6 - 2 * (k % 128 / 32)) & 3) - 1);
        }
        for (std::size_t t = 0; t < n_tokens; ++t) {
            std::int32_t dot = 0;
            for (std::size_t k = 0; k < cols; ++k) dot += w[k] * x.codes[t * x.stride + k];
            out.data[t * out.stride + r] = static_cast<float>(dot) * (scale / x.scales[t]);
        }
    }
}

void compare_ternary(const Kernels& kernels, Random& random, const Case& sizes) {
    const std::size_t cols = 128 * sizes.blocks, row_bytes = cols / 4 + below(random, 3) * 32;
    const std::size_t stride = cols + below(random, 3) * 128;
    std::vector<std::uint8_t> rows((sizes.n_rows - 1) * row_bytes + cols / 4);  // exactly the bytes that may be read
    const std::size_t weights = below(random, 6);
    for (auto& byte : rows) {
        const std::uint32_t r = random();
        const std::uint32_t any = r % 3 | r / 3 % 3 << 2 | r / 9 % 3 << 4 | r / 27 % 3 << 6;
        byte = static_cast<std::uint8_t>(weights == 0 ? 0u : weights == 1 ? 0xaau : any);  // 0: all -1; 1: all +1
    }
    std::vector<std::int8_t> codes((sizes.n_tokens - 1) * stride + cols);
    std::vector<std::int32_t> sums(sizes.n_tokens);
    std::vector<float> scales(sizes.n_tokens);
    for (std::size_t t = 0; t < sizes.n_tokens; ++t) {
        const std::size_t extreme = below(random, 8);
        scales[t] = static_cast<float>(1 + below(random, 1000)) / 7.0f;
        for (std::size_t k = 0; k < cols; ++k) {
            const auto any = static_cast<std::int8_t>(random());
            std::int8_t& code = codes[t * stride + k];
            code = extreme == 0 ? -128 : extreme == 1 ? 127 : extreme == 2 ? (any < 0 ? -128 : 127) : any;
            sums[t] += code;
        }
    }
    const Int8Activations x{codes.data(), sums.data(), scales.data(), stride};
    const auto task = [&](std::size_t n_tokens, float* out) {
        return TernaryTask{{rows.data(), row_bytes, sizes.n_rows}, 0.3f, x, n_tokens, cols, {out, sizes.out_stride}};
    };
    const auto call = [&](auto* dot) { return [&, dot](float* out) { dot(task(sizes.n_tokens, out)); }; };
    compare(sizes, "ternary", call(plain_ternary_dot), call(kernels.ternary_dot));
    std::vector<std::uint8_t> panels((sizes.n_rows + 15) / 16 * 4 * cols);
    kernels.pack_ternary_panels({rows.data(), row_bytes, sizes.n_rows}, cols, panels.data());
    const auto panel_task = [&](std::size_t n_tokens, float* out) {
        return TernaryPanelTask{panels.data(), sizes.n_rows, 0.3f, x, n_tokens, cols, 0, {out, sizes.out_stride}};
    };
    compare(sizes, "ternary panel", call(plain_ternary_dot),
            [&](float* out) { kernels.ternary_panel_dot(panel_task(sizes.n_tokens, out)); });
    if (sizes.n_tokens < kLookupGroup) return;
    Case whole = sizes;
    whole.n_tokens = sizes.n_tokens / kLookupGroup * kLookupGroup;
    const Buffer<std::uint8_t> scratch(kLookupScratch);
    const auto expect = [&](float* out) { plain_ternary_dot(task(whole.n_tokens, out)); };
    if (kernels.lookup_dot != nullptr)
        compare(whole, "lookup", expect,
                [&](float* out) { kernels.lookup_dot(task(whole.n_tokens, out), scratch.get()); });
    if (kernels.panel_lookup_dot != nullptr)
        compare(whole, "panel lookup", expect,
                [&](float* out) { kernels.panel_lookup_dot(panel_task(whole.n_tokens, out), scratch.get()); });
}

// Where the float16 numbers of a block lie.
struct Halfs {
    Encoding encoding;
    std::vector<std::size_t> at;
};

const std::vector<Halfs> kHalfs = {
    {Encoding::q4_0, {0}},    {Encoding::q8_0, {0}},    {Encoding::q6_k, {208}},    {Encoding::q4_1, {0, 2}},
    {Encoding::q5_0, {0}},    {Encoding::q5_1, {0, 2}}, {Encoding::q2_k, {80, 82}}, {Encoding::q3_k, {108}},
    {Encoding::q4_k, {0, 2}}, {Encoding::q5_k, {0, 2}}, {Encoding::iq4_nl, {0}},    {Encoding::q2_0, {0}},
    {Encoding::pq2_0, {0}},   {Encoding::ptq1_0, {26}}, {Encoding::q1_0, {0}},      {Encoding::stq1_0, {40}}};
constexpr std::size_t kAsTheyLie = 3;  // encodings at the beginning whose rows int15_dot takes

void compare_int15(const Kernels& kernels, Random& random, const Case& sizes) {
    const std::size_t which = below(random, kHalfs.size());
    const auto& [encoding, halfs] = kHalfs[which];
    const Format& format = format_of(encoding);
    const std::size_t cols = 256 * sizes.blocks, bytes = row_bytes(encoding, cols);
    std::vector<std::uint8_t> rows(sizes.n_rows * bytes);
    for (auto& byte : rows) byte = static_cast<std::uint8_t>(random());
    for (const std::size_t half : halfs)
        for (std::size_t at = half; at < rows.size(); at += format.bytes) rows[at + 1] &= 0xbf;  // finite
    std::vector<float> x(sizes.n_tokens * cols);
    for (auto& v : x)
        v = static_cast<float>(static_cast<std::int32_t>(random())) * (random() % 2 ? 0x1p-31f : 0x1p-36f);
    const Int15Vectors int15(kernels, x.data(), sizes.n_tokens, cols);
    const Rows stored{rows.data(), bytes, sizes.n_rows};
    const auto panel_dot = [&](const Kernels& of) {
        return [&](float* out) {
            const std::size_t panels = (sizes.n_rows + 15) / 16;
            Buffer<std::uint8_t> packed(panels * of.panel_bytes(encoding, cols));
            of.pack_panels(encoding, stored, cols, packed.get());
            of.panel_dot(
                {encoding, packed.get(), sizes.n_rows, int15.view(), sizes.n_tokens, cols, {out, sizes.out_stride}});
        };
    };
    compare(sizes, format.name, panel_dot(kernels_for("scalar")), panel_dot(kernels));
    if (which >= kAsTheyLie) return;
    const auto int15_dot = [&](const Kernels& of) {
        return [&](float* out) {
            of.int15_dot({encoding, stored, int15.view(), sizes.n_tokens, cols, {out, sizes.out_stride}});
        };
    };
    compare(sizes, format.name, int15_dot(kernels_for("scalar")), int15_dot(kernels));
}

}  // namespace

std::size_t compare_random_rows(const Kernels& kernels, bool int15, std::size_t n_rows, std::uint32_t seed) {
    Random random(seed);
    std::size_t done = 0;
    while (done < n_rows) {
        const Case sizes(random);
        (int15 ? compare_int15 : compare_ternary)(kernels, random, sizes);
        done += sizes.n_rows;
    }
    return done;
}

}  // namespace sterna

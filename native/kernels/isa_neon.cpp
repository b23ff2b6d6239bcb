// NEON with the dot product extension: sdot multiplies four columns of four rows with those of one token.
#include "int15_neon.hpp"
#include "int4_dot.hpp"
#include "isa_kernels.hpp"
#include "panel_dot.hpp"
#include "ternary_neon.hpp"
#include "ternary_panel_neon.hpp"

namespace sterna {
namespace {

struct Sdot {
    static constexpr std::size_t kRows = 4, kTokens = 1;
    using X = int8x16_t;

    static void interleave(const uint8x16_t in[4], uint8x16_t out[4]) {
        const auto of = [](uint8x16_t v) { return vreinterpretq_u32_u8(v); };
        const auto pair = [](uint32x4_t v) { return vreinterpretq_u64_u32(v); };
        const uint64x2_t even01 = pair(vtrn1q_u32(of(in[0]), of(in[1]))),
                         odd01 = pair(vtrn2q_u32(of(in[0]), of(in[1])));
        const uint64x2_t even23 = pair(vtrn1q_u32(of(in[2]), of(in[3]))),
                         odd23 = pair(vtrn2q_u32(of(in[2]), of(in[3])));
        out[0] = vreinterpretq_u8_u64(vtrn1q_u64(even01, even23));
        out[1] = vreinterpretq_u8_u64(vtrn1q_u64(odd01, odd23));
        out[2] = vreinterpretq_u8_u64(vtrn2q_u64(even01, even23));
        out[3] = vreinterpretq_u8_u64(vtrn2q_u64(odd01, odd23));
    }

    static X load(const std::int8_t* a, const std::int8_t*) { return vld1q_s8(a); }

    template <std::size_t J>
    static int32x4_t multiply_add(int32x4_t sum, int8x16_t codes, const X& x) {
        return vdotq_laneq_s32(sum, codes, x, J);
    }

    static int32x4_t rows(const int32x4_t sums[4], std::size_t quad, std::size_t) { return sums[quad]; }
};

}  // namespace

extern const Kernels kNeonKernels =
    make_kernels("neon", ternary_dot<TernaryNeon<Sdot>>, ternary_panel_dot<PanelNeon>, nullptr, nullptr,
                 int15_dot<Int15Neon>, panel_dot, int4_dot, multiply_add<Sdot>);

}  // namespace sterna

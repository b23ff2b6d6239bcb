// NEON with the int8 matrix multiplication extension: smmla multiplies eight columns of two rows with those of two
// tokens, twice the work of sdot.
#include "int15_neon.hpp"
#include "int4_dot.hpp"
#include "isa_kernels.hpp"
#include "panel_dot.hpp"
#include "ternary_neon.hpp"
#include "ternary_panel_neon.hpp"

namespace sterna {
namespace {

struct Smmla {
    static constexpr std::size_t kRows = 2, kTokens = 2;
    struct X {
        int8x16_t columns[2];  // eight columns of both tokens
    };

    static void interleave(const uint8x16_t in[2], uint8x16_t out[2]) {
        const uint64x2_t a = vreinterpretq_u64_u8(in[0]), b = vreinterpretq_u64_u8(in[1]);
        out[0] = vreinterpretq_u8_u64(vzip1q_u64(a, b));
        out[1] = vreinterpretq_u8_u64(vzip2q_u64(a, b));
    }

    static X load(const std::int8_t* first, const std::int8_t* second) {
        const int64x2_t a = vreinterpretq_s64_s8(vld1q_s8(first)), b = vreinterpretq_s64_s8(vld1q_s8(second));
        return {{vreinterpretq_s8_s64(vzip1q_s64(a, b)), vreinterpretq_s8_s64(vzip2q_s64(a, b))}};
    }

    // sum: row 0 with token 0 and 1, row 1 with token 0 and 1.
    template <std::size_t J>
    static int32x4_t multiply_add(int32x4_t sum, int8x16_t codes, const X& x) {
        return vmmlaq_s32(sum, codes, x.columns[J]);
    }

    static int32x4_t rows(const int32x4_t sums[4], std::size_t quad, std::size_t token) {
        const int32x4_t a = sums[2 * quad], b = sums[2 * quad + 1];
        return token == 0 ? vuzp1q_s32(a, b) : vuzp2q_s32(a, b);
    }
};

}  // namespace

extern const Kernels kNeonI8mmKernels =
    make_kernels("neon-i8mm", ternary_dot<TernaryNeon<Smmla>>, ternary_panel_dot<PanelNeon>, nullptr, nullptr,
                 int15_dot<Int15Neon>, panel_dot, int4_dot, multiply_add<Smmla>);

}  // namespace sterna

// AVX2: codes and activations are multiplied by maddubs; sums stay in 16 bits as long as they cannot overflow.
#include "int4_dot.hpp"
#include "isa_kernels.hpp"
#include "panel_dot.hpp"
#include "ternary_lookup.hpp"
#include "ternary_panel_x86.hpp"
#include "ternary_x86.hpp"

namespace sterna {
namespace {

struct MaddubsOp {
    typedef std::int32_t Vec __attribute__((vector_size(32)));
    static constexpr std::size_t kGroups = 2, kTokens = 6, kBlocks = 2;
    static constexpr std::size_t kPanelTokens = 6, kLines = 16;  // 64 steps
    static constexpr bool kInPlace = false;

    // Sums have 16 bits. A step adds two products of a code 0..2 and an int8 -128..127 to a lane, from -512 to 508.
    // Over the 64 steps of two blocks that makes -32768 to 32512, which 16 bits just hold. (The code 3 does not occur:
    // loading replaces it.) In assembly, because gcc 12 moves and spills sums that go through the intrinsics.
    static void multiply_add(Vec& sum, const Vec& codes, const Vec& x) {
        Vec product;
        asm("vpmaddubsw %3, %2, %1\nvpaddw %1, %0, %0" : "+x"(sum), "=&x"(product) : "x"(codes), "x"(x));
    }
    static Vec widen(const Vec& sum) {
        return reinterpret_cast<Vec>(_mm256_madd_epi16(reinterpret_cast<__m256i>(sum), _mm256_set1_epi16(1)));
    }
};

struct Maddubs : TileX86<MaddubsOp> {
    // A maddubs lane adds two products of a code (0..2) and an int8, at most 512 in magnitude. A block of 128 columns
    // adds four of these to a lane, 2048; fifteen blocks make 30720 < 32767. A row is divided into equal runs of at
    // most fifteen blocks.
    static constexpr std::size_t kBlocksPer16Bit = 15;

    template <std::size_t T>
    static void row(const std::uint8_t* row, const std::int8_t* x, std::size_t x_stride, std::size_t cols,
                    __m256i* sums) {
        for (std::size_t t = 0; t < T; ++t) sums[t] = _mm256_setzero_si256();
        const std::size_t blocks = cols / 128, runs = (blocks + kBlocksPer16Bit - 1) / kBlocksPer16Bit;
        for (std::size_t run = 0, block = 0; run < runs; ++run) {
            const std::size_t end = blocks * (run + 1) / runs;
            __m256i even[T], odd[T];
            for (std::size_t t = 0; t < T; ++t) even[t] = odd[t] = _mm256_setzero_si256();
            for (; block + 2 <= end; block += 2) {  // one cache line
                _mm_prefetch(reinterpret_cast<const char*>(row + 32 * block + 4096), _MM_HINT_T0);
                add_block<T>(row + 32 * block, x + 128 * block, x_stride, even);
                add_block<T>(row + 32 * block + 32, x + 128 * block + 128, x_stride, odd);
            }
            if (block < end) {
                add_block<T>(row + 32 * block, x + 128 * block, x_stride, even);
                ++block;
            }
            for (std::size_t t = 0; t < T; ++t)
                sums[t] = _mm256_add_epi32(sums[t],
                                           _mm256_madd_epi16(_mm256_add_epi16(even[t], odd[t]), _mm256_set1_epi16(1)));
        }
    }

    template <std::size_t T>
    static void add_block(const std::uint8_t* packed, const std::int8_t* x, std::size_t x_stride, __m256i* sums) {
        const __m256i mask = _mm256_set1_epi8(3), w = load256(packed);
        const __m256i w0 = _mm256_and_si256(_mm256_srli_epi16(w, 6), mask);
        const __m256i w1 = _mm256_and_si256(_mm256_srli_epi16(w, 4), mask);
        const __m256i w2 = _mm256_and_si256(_mm256_srli_epi16(w, 2), mask);
        const __m256i w3 = _mm256_and_si256(w, mask);
#pragma GCC unroll 4
        for (std::size_t t = 0; t < T; ++t, x += x_stride) {
            const __m256i low =
                _mm256_add_epi16(_mm256_maddubs_epi16(w0, load256(x)), _mm256_maddubs_epi16(w1, load256(x + 32)));
            const __m256i high =
                _mm256_add_epi16(_mm256_maddubs_epi16(w2, load256(x + 64)), _mm256_maddubs_epi16(w3, load256(x + 96)));
            sums[t] = _mm256_add_epi16(sums[t], _mm256_add_epi16(low, high));
        }
    }
};

}  // namespace

extern const Kernels kAvx2Kernels =
    make_kernels("avx2", ternary_dot<Maddubs>, ternary_panel_dot<PanelX86<MaddubsOp>>, lookup_dot, panel_lookup_dot,
                 int15_dot<Int15Avx2>, panel_dot, int4_dot, multiply_add<MaddubsOp>);

}  // namespace sterna

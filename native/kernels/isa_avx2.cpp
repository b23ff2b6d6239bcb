// AVX2: codes and activations meet in maddubs, sums stay in 16 bits as long as they can.
#include "isa_table.hpp"
#include "ternary_x86.hpp"

namespace sterna {
namespace {

struct MaddubsOp {
    typedef std::int32_t Vec __attribute__((vector_size(32)));
    static constexpr std::size_t kGroups = 2, kTokens = 6, kBlocks = 2;

    // Sums of 16 bits: a lane of theirs adds two products of a code 0..2 and an int8 -128..127, from -512 to 508. Over
    // the 64 steps of two blocks that makes -32768 to 32512, which is just what 16 bits hold. (The code 3 does not
    // occur: loading replaces it.) In assembly: gcc 12 moves and spills sums that go through the intrinsics.
    static void multiply_add(Vec& sum, const Vec& codes, const Vec& x) {
        Vec product;
        asm("vpmaddubsw %3, %2, %1\nvpaddw %1, %0, %0" : "+x"(sum), "=&x"(product) : "x"(codes), "x"(x));
    }
    static Vec widen(const Vec& sum) {
        return reinterpret_cast<Vec>(_mm256_madd_epi16(reinterpret_cast<__m256i>(sum), _mm256_set1_epi16(1)));
    }
};

struct Maddubs : TileX86<MaddubsOp> {
    // A maddubs lane adds two products of a code (0..2) and an int8, at most 512 in magnitude; a block of 128 columns
    // adds four of them to a lane, 2048; fifteen blocks make 30720 < 32767.
    template <std::size_t T>
    static void row(const std::uint8_t* row, const std::int8_t* x, std::size_t x_stride, std::size_t cols,
                    std::int32_t* dots) {
        constexpr std::size_t kBlocksPer16Bit = 15;
        const __m256i mask = _mm256_set1_epi8(3), ones = _mm256_set1_epi16(1);
        __m256i acc32[T];
        for (__m256i& acc : acc32) acc = _mm256_setzero_si256();
        const std::size_t blocks = cols / 128;
        for (std::size_t first = 0; first < blocks; first += kBlocksPer16Bit) {
            const std::size_t last = smaller(first + kBlocksPer16Bit, blocks);
            __m256i acc16[T];
            for (__m256i& acc : acc16) acc = _mm256_setzero_si256();
            for (std::size_t block = first; block < last; ++block) {
                const __m256i w = load256(row + 32 * block);
                _mm_prefetch(reinterpret_cast<const char*>(row + 32 * block + 4096), _MM_HINT_T0);
                const __m256i w0 = _mm256_and_si256(_mm256_srli_epi16(w, 6), mask);
                const __m256i w1 = _mm256_and_si256(_mm256_srli_epi16(w, 4), mask);
                const __m256i w2 = _mm256_and_si256(_mm256_srli_epi16(w, 2), mask);
                const __m256i w3 = _mm256_and_si256(w, mask);
#pragma GCC unroll 4
                for (std::size_t t = 0; t < T; ++t) {
                    const std::int8_t* a = x + t * x_stride + 128 * block;
                    const __m256i low = _mm256_add_epi16(_mm256_maddubs_epi16(w0, load256(a)),
                                                         _mm256_maddubs_epi16(w1, load256(a + 32)));
                    const __m256i high = _mm256_add_epi16(_mm256_maddubs_epi16(w2, load256(a + 64)),
                                                          _mm256_maddubs_epi16(w3, load256(a + 96)));
                    acc16[t] = _mm256_add_epi16(acc16[t], _mm256_add_epi16(low, high));
                }
            }
            for (std::size_t t = 0; t < T; ++t)
                acc32[t] = _mm256_add_epi32(acc32[t], _mm256_madd_epi16(acc16[t], ones));
        }
        for (std::size_t t = 0; t < T; ++t) dots[t] = sum32(acc32[t]);
    }
};

}  // namespace

extern const Kernels kAvx2Kernels =
    make_table("avx2", ternary_dot<Maddubs>, wide_dot<WideAvx2>, multiply_add<MaddubsOp>);

}  // namespace sterna

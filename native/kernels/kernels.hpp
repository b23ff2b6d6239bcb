// The table of inner loops. One table per ISA, each filled by its own translation unit (isa_*.cpp) and chosen at run
// time (dispatch.cpp). Everything here is plain data and pointers, so that no inline library code is compiled with ISA
// flags.
//
// Conventions: float vectors are padded with zeros to a multiple of kPad elements, so loops have no tails. Float sums
// run over 16 virtual lanes and a fixed tree (lanes.hpp): every ISA gives the same bits.
#pragma once

#include <cstddef>
#include <cstdint>

namespace sterna {

enum class Encoding : std::uint8_t { f32, f16, bf16, q4_0, q4_1, q5_0, q5_1, q8_0, q2_k, q3_k, q4_k, q5_k, q6_k, i2_s };
enum class Activation : std::uint8_t { relu2, silu, gelu };
enum class RopeStyle : std::uint8_t { half, interleaved };

inline constexpr std::size_t kPad = 128;  // elements; also the block of I2_S (128 codes in 32 bytes)
inline constexpr std::size_t kMaxHeadDim = 4096;
inline constexpr std::size_t kBlockSize = 64;  // positions in one KV block

[[gnu::always_inline]] constexpr std::size_t padded(std::size_t n) {
    return (n + kPad - 1) / kPad * kPad;
}

// Of `table_dot` (ternary_tables.hpp): tokens go in groups; rows and tokens at most; bytes of scratch.
inline constexpr std::size_t kTableGroup = 32, kTableRows = 1280, kTableTokens = 128;
inline constexpr std::size_t kTableScratch =
    8 * 81 * 64 + 256 * kTableGroup * 2 + kTableRows * (64 * 2 + kTableTokens * (2 + 4));

// A KV block of one layer and kv head: keys, then values, of 64 positions in float16 or int8; after int8 codes float32
// scales [64] of the keys and [64] of the values, value = code * scale. The order of elements is the kernels' own
// (attention_f16.hpp, attention_int8.hpp). head_stride is head_dim padded to 16.
enum class KvType : std::uint8_t { f16, int8 };

[[gnu::always_inline]] constexpr std::size_t kv_values_offset(KvType type, std::size_t head_stride) {  // bytes
    return kBlockSize * head_stride * (type == KvType::f16 ? 2 : 1);
}

[[gnu::always_inline]] constexpr std::size_t kv_scales_offset(KvType type, std::size_t head_stride) {  // bytes
    return 2 * kv_values_offset(type, head_stride);
}

[[gnu::always_inline]] constexpr std::size_t kv_head_bytes(KvType type, std::size_t head_stride) {
    return kv_scales_offset(type, head_stride) + (type == KvType::f16 ? 0 : 2 * kBlockSize * sizeof(float));
}

// Query tokens at consecutive positions of one sequence against the cached keys and values of one kv head; `group`
// query heads share that kv head.
struct AttentionTask {
    const float* q;  // [n_tokens] rows of [group, head_dim], q_stride floats apart
    float* out;      // the same, out_stride floats apart
    std::size_t q_stride, out_stride, n_tokens;
    KvType type;
    const std::uint8_t* pool;    // already at (layer, kv head) of block 0
    const std::int32_t* blocks;  // block table of the sequence
    std::size_t block_stride;    // bytes from one block to the next
    std::size_t group, head_dim, head_stride;
    std::size_t position;  // the first token attends to positions 0..position, each of the others to one more
    float scale;
    float* scratch;  // attention_scratch(n_tokens * group, head_stride) floats
};

[[gnu::always_inline]] constexpr std::size_t attention_scratch(std::size_t rows, std::size_t head_stride) {
    const std::size_t converted = 16 * (head_stride > kBlockSize ? head_stride : kBlockSize);  // float16
    const std::size_t codes = rows * ((head_stride + kBlockSize) / 2 + 2);                     // int8
    return rows * (head_stride + 3 + kBlockSize) + (codes > converted ? codes : converted);
}

// Activations of int8 codes: value = code / scale (absmax per token).
struct Int8Activations {
    const std::int8_t* codes;  // [n_tokens, stride]
    const std::int32_t* sums;  // [n_tokens]: sum of the token's codes
    const float* scales;       // [n_tokens]
    std::size_t stride;
};

// Activations of 15 bits: value = (128 * high + low) / scale (wide_dot.hpp).
struct WideActivations {
    const std::int8_t *high, *low;             // [n_tokens, stride]
    const std::int16_t *high_sums, *low_sums;  // [n_tokens, stride / 16]: sums over groups of 16
    const std::int32_t* eights;  // [n_tokens, stride / 4]: -8 * (sum of 128 * high + low) over groups of 4
    const float* scales;         // [n_tokens]
    std::size_t stride;
};

struct Kernels {
    const char* isa;

    // out[t * out_stride + r] = (sum over k of w[r, k] * x.codes[t, k], exactly) * (scale / x.scales[t]), w in {-1, 0,
    // 1}. rows: I2_S blocks of 128 columns, x86 interleaving, codes 0..2 only; cols is a multiple of 128.
    void (*ternary_dot)(const std::uint8_t* rows, std::size_t row_bytes, std::size_t n_rows, float scale,
                        const Int8Activations& x, std::size_t n_tokens, std::size_t cols, float* out,
                        std::size_t out_stride);

    // As ternary_dot, by lookup tables; null where the ISA gains nothing by them. n_rows <= kTableRows, n_tokens a
    // multiple of kTableGroup and <= kTableTokens; scratch of kTableScratch bytes, 64-byte aligned.
    void (*table_dot)(const std::uint8_t* rows, std::size_t row_bytes, std::size_t n_rows, float scale,
                      const Int8Activations& x, std::size_t n_tokens, std::size_t cols, float* out,
                      std::size_t out_stride, std::uint8_t* scratch);

    // out[0..n) = the n values stored at src (I2_S: codes as -1, 0, 1). n is a multiple of the encoding's block.
    void (*decode)(Encoding encoding, const std::uint8_t* src, std::size_t n, float* out);

    // The way back, to Q4_0, Q8_0 or Q6_K; false for another encoding or where a value is not finite. n as above.
    bool (*encode)(Encoding encoding, const float* x, std::size_t n, std::uint8_t* out);

    // out[t * out_stride + r] = sum over k of w[r, k] * x[t, k] for rows of F32, F16 or BF16; cols is a multiple of 16.
    void (*float_dot)(Encoding encoding, const std::uint8_t* rows, std::size_t row_bytes, std::size_t n_rows,
                      const float* x, std::size_t x_stride, std::size_t n_tokens, std::size_t cols, float* out,
                      std::size_t out_stride);

    // The same for rows of Q4_0, Q8_0 or Q6_K and activations of 15 bits; cols is a multiple of the encoding's block.
    void (*wide_dot)(Encoding encoding, const std::uint8_t* rows, std::size_t row_bytes, std::size_t n_rows,
                     const WideActivations& x, std::size_t n_tokens, std::size_t cols, float* out,
                     std::size_t out_stride);

    // scale = 16256 / max(|x|, 1e-5), v = round(x * scale) = 128 * high + low; sums over groups of 16, and
    // -8 * (sum of v) over groups of 4. n multiple of kPad.
    void (*quantize_wide)(const float* x, std::size_t n, std::int8_t* high, std::int8_t* low, std::int16_t* high_sums,
                          std::int16_t* low_sums, std::int32_t* eights, float* scale);

    // Sum of a[k] * b[k]; n is a multiple of 16.
    float (*dot)(const float* a, const float* b, std::size_t n);

    // out = x / sqrt(mean(x^2) + eps) * weight over n values; all three are padded to a multiple of kPad. The mean is
    // taken in double precision, so that its float32 value depends on no order of summation.
    void (*rms_norm)(const float* x, const float* weight, float eps, std::size_t n, float* out);

    // absmax per token: scale = 127 / max(|x|, 1e-5), codes = clip(round(x * scale), -128, 127); n is a multiple of
    // kPad.
    void (*quantize)(const float* x, std::size_t n, std::int8_t* codes, float* scale, std::int32_t* sum);

    // out = activation(gate) * up; n multiple of kPad.
    void (*gated)(Activation activation, const float* gate, const float* up, std::size_t n, float* out);

    // Rotates the first 2 * half values of one head by the given cosines and sines [half].
    void (*rope)(RopeStyle style, const float* cos, const float* sin, std::size_t half, float* head);

    // dst = float16(src), round to nearest even.
    void (*to_f16)(const float* src, std::size_t n, std::uint16_t* dst);

    // Puts one position's key and value, float32 [head_dim], into its place in a KV block. int8: absmax of each.
    void (*store_kv)(KvType type, const float* key, const float* value, std::size_t head_dim, std::size_t head_stride,
                     std::size_t position, std::uint8_t* block);

    void (*attention)(const AttentionTask& task);

    // The machine's ceilings, for sterna bench. `read_all` touches every byte (n a multiple of 512) and gives a value
    // that depends on each; `multiply_add` does rounds of the int8 multiply-adds that ternary_dot is made of, on
    // registers alone, and gives how many it did.
    std::uint64_t (*read_all)(const std::uint8_t* data, std::size_t n);
    std::uint64_t (*multiply_add)(std::size_t rounds);
};

}  // namespace sterna

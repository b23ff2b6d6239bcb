// The kernels of one ISA. Each ISA's set is filled by its own translation unit (isa_*.cpp); dispatch.cpp chooses a set
// at run time.
//
// Conventions: float vectors are padded with zeros to a multiple of kPad elements, so loops have no tails. Float sums
// run over 16 virtual lanes, which are folded in a fixed tree (lanes.hpp): every ISA gives the same bits.
#pragma once

#include "tasks.hpp"

namespace sterna {

enum class Activation : std::uint8_t { relu2, silu, gelu, sigmoid };
enum class RopeStyle : std::uint8_t { half, interleaved };

// Below it e^x counts as 0: products with smaller numbers could be subnormal, which processors multiply slowly.
inline constexpr float kLeastDecay = -50.0f;

// For lookup tables (ternary_lookup.hpp): tokens of a group, most rows and most tokens of a call, bytes of scratch.
inline constexpr std::size_t kLookupGroup = 32, kLookupRows = 3456, kLookupTokens = 128;
inline constexpr std::size_t kLookupScratch =
    8 * 81 * 64 + 256 * kLookupGroup * 2 + kLookupRows * (64 * 2 + kLookupTokens * (2 + 4));

// Bytes of a panel of INT4 (int4_panels.hpp).
constexpr std::size_t int4_panel_bytes(std::size_t cols, std::size_t group) {
    return cols / group * (64 + 8 * group);
}

struct SoftmaxSums {
    float largest;
    double total;
};

struct Kernels {
    const char* isa;

    // out = (sum over k of w[r, k] * x.codes[t, k], exactly) * (scale / x.scales[t]), w in {-1, 0, 1}.
    void (*ternary_dot)(const TernaryTask& task);

    // The same for rows repacked to panels of sixteen (ternary_panels.hpp). pack_ternary_panels: the rows' panels, 4 *
    // cols bytes each, the last one filled up; cols is a multiple of 128. pack_transposed_panels: eight panels of the
    // transposed matrix, from the columns 128 * block .. 128 * block + 127 of the rows, which `cols` is at least.
    void (*ternary_panel_dot)(const TernaryPanelTask& task);
    void (*pack_ternary_panels)(const Rows& rows, std::size_t cols, std::uint8_t* out);
    void (*pack_transposed_panels)(const Rows& rows, std::size_t block, std::size_t cols, std::uint8_t* out);

    // ternary_dot and ternary_panel_dot by lookup tables; null if the ISA never gains by them. At most kLookupRows
    // rows; a multiple of kLookupGroup tokens, at most kLookupTokens; scratch of kLookupScratch bytes, 64-byte aligned.
    void (*lookup_dot)(const TernaryTask& task, std::uint8_t* scratch);
    void (*panel_lookup_dot)(const TernaryPanelTask& task, std::uint8_t* scratch);

    // out = sum over k of w[r, k] * x[t, k]. float_dot: in float32. int15_dot: sums within a block are integers.
    void (*float_dot)(const FloatTask& task);
    void (*int15_dot)(const Int15Task& task);

    // The same sums for block formats repacked to panels of sixteen rows (panels.hpp). panel_bytes: of one panel; 0 if
    // the encoding has no panels. pack_panels: the rows' panels, the last one filled up with zeros.
    void (*panel_dot)(const PanelTask& task);
    std::size_t (*panel_bytes)(Encoding encoding, std::size_t cols);
    void (*pack_panels)(Encoding encoding, const Rows& rows, std::size_t cols, std::uint8_t* out);

    // Products of INT4 panels (int4_panels.hpp). pack_int4_panels: the rows' panels, int4_panel_bytes each.
    void (*int4_dot)(const Int4Task& task);
    void (*pack_int4_panels)(const Rows& rows, std::size_t cols, std::size_t group, std::uint8_t* out);

    // Scales and rotates the columns of some tokens (rotation.hpp).
    void (*rotate)(const RotationTask& task);

    // out[0..n) = the n values stored at src (I2_S: codes as -1, 0, 1). n is a multiple of the encoding's block.
    void (*decode)(Encoding encoding, const std::uint8_t* src, std::size_t n, float* out);

    // The inverse of decode; false if the encoding has no encoder or a value is not finite. n as for decode.
    bool (*encode)(Encoding encoding, const float* x, std::size_t n, std::uint8_t* out);

    // absmax per token: scale = 127 / max(|x|, 1e-5), codes = clip(round(x * scale), -128, 127); n is a multiple of
    // kPad.
    void (*quantize_int8)(const float* x, std::size_t n, std::int8_t* codes, float* scale, std::int32_t* sum);

    // scale = 16256 / max(|x|, 1e-5), v = round(x * scale) = 128 * high + low; sums over groups of 16 and 32, and
    // -8 * (sum of v) over groups of 4. n is a multiple of kPad.
    void (*quantize_int15)(const float* x, std::size_t n, const Int15Row& out);

    // Sum of a[k] * b[k]; n is a multiple of 16.
    float (*dot)(const float* a, const float* b, std::size_t n);

    // out = x / sqrt(mean(x^2) + eps) * weight over n values; all three are padded to a multiple of kPad. The mean is
    // taken in double precision, so that its float32 value does not depend on the order of summation.
    void (*rms_norm)(const float* x, const float* weight, float eps, std::size_t n, float* out);

    // out = activation(gate) * up; n is a multiple of kPad.
    void (*gated)(Activation activation, const float* gate, const float* up, std::size_t n, float* out);

    // Rotates the first 2 * half values of one head by the given cosines and sines [half].
    void (*rope)(RopeStyle style, const float* cos, const float* sin, std::size_t half, float* head);

    // c[r, j] += sum over k of a[r, k] * b[k, j], the terms added in order.
    void (*add_products)(const ProductTask& task);

    // The sums of add_products by halves of floats, to about 2^-16 of their terms; null if the ISA has nothing faster
    // than add_products. split: a token's rows of the blocks of a SplitTask, high halves from `out` on; n is a multiple
    // of kSplitTerms.
    void (*split)(const float* x, std::size_t n, std::uint16_t* out);
    void (*add_split_products)(const SplitTask& task);

    // out[t, c] += sum over j of hidden[t, j] * b[j, c], the terms added in order before they are added to `out`.
    void (*add_low_rank)(const LowRankTask& task);

    // out = e^x for x <= 0, and 0 for x < kLeastDecay; n is a multiple of 16.
    void (*decays)(const float* x, std::size_t n, float* out);

    // The largest of x[0..n) and the sum of e^(x - largest), to about 1e-6 of it; n is at least 1.
    SoftmaxSums (*softmax_sums)(const float* x, std::size_t n);

    // dst = float16(src), round to nearest even.
    void (*to_f16)(const float* src, std::size_t n, std::uint16_t* dst);

    // Stores one position's key and value, float32 [head_dim], in a KV block. int8: each is quantised by its absmax.
    void (*store_kv)(KvType type, const float* key, const float* value, std::size_t head_dim, std::size_t head_stride,
                     std::size_t position, std::uint8_t* block);

    // attention: sums over a range of positions. merge_attention: adds the sums of later positions. finish_attention:
    // out = values / total for `heads` rows.
    void (*attention)(const AttentionTask& task);
    void (*merge_attention)(const AttentionSums& sums, const AttentionSums& more, std::size_t rows,
                            std::size_t head_stride);
    void (*finish_attention)(const AttentionSums& sums, std::size_t first_row, std::size_t heads, std::size_t head_dim,
                             std::size_t head_stride, float* out);

    // The machine's ceilings, for sterna bench. `read_all` reads every byte (n is a multiple of 512) and returns a
    // value that depends on all of them. `multiply_add` does rounds of the int8 multiply-adds that ternary_dot is made
    // of, on registers alone, and returns how many it did.
    std::uint64_t (*read_all)(const std::uint8_t* data, std::size_t n);
    std::uint64_t (*multiply_add)(std::size_t rounds);
};

}  // namespace sterna

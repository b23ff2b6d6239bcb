// The arguments of kernels: plain data and pointers, so that no inline library code is compiled with ISA flags.
#pragma once

#include "formats.hpp"

namespace sterna {

inline constexpr std::size_t kPad = 128;  // elements; also the block of I2_S (128 codes in 32 bytes)
inline constexpr std::size_t kMaxHeadDim = 4096;
inline constexpr std::size_t kMaxPanelColumns = 1 << 18;  // their products, times 64, fit 32 bits
inline constexpr std::size_t kBlockSize = 64;             // positions in one KV block

[[gnu::always_inline]] constexpr std::size_t padded(std::size_t n) {
    return (n + kPad - 1) / kPad * kPad;
}

// Rows of a stored matrix, `stride` bytes from one to the next.
struct Rows {
    const std::uint8_t* data;
    std::size_t stride, count;
};

// Products of rows and tokens: the product of row r and token t goes to data[t * stride + r].
struct Products {
    float* data;
    std::size_t stride;
};

// Activations of int8 codes: value = code / scale (absmax per token).
struct Int8Activations {
    const std::int8_t* codes;  // [n_tokens, stride]
    const std::int32_t* sums;  // [n_tokens, groups]: sums of the codes
    const float* scales;       // [n_tokens, groups]
    std::size_t stride;
    std::size_t groups = 1;  // groups of a token's columns, each with its own scale; kernels take one
};

// int15 activations: value = (128 * high + low) / scale (int15_dot.hpp).
struct Int15Activations {
    const std::int8_t *high, *low;             // [n_tokens, stride]
    const std::int16_t *high_sums, *low_sums;  // [n_tokens, stride / 16]: sums over groups of 16
    const std::int32_t* eights;           // [n_tokens, stride / 4]: -8 * (sum of 128 * high + low) over groups of 4
    const std::int16_t* values;           // [n_tokens, stride]: 128 * high + low
    const float *sixteens, *thirty_twos;  // [n_tokens, stride / 16 or 32]: sums of values over groups
    const float* scales;                  // [n_tokens]
    std::size_t stride;
};

struct FloatActivations {
    const float* values;  // [n_tokens, stride]
    std::size_t stride;
};

// rows: I2_S blocks of 128 columns in the x86 layout, codes 0..2 only; cols is a multiple of 128.
struct TernaryTask {
    Rows rows;
    float scale;
    Int8Activations x;
    std::size_t n_tokens, cols;
    Products out;
};

// Ternary panels (ternary_panels.hpp); cols is a multiple of 128, at most kMaxPanelColumns.
struct TernaryPanelTask {
    const std::uint8_t* panels;
    std::size_t rows;
    float scale;
    Int8Activations x;
    std::size_t n_tokens, cols;
    std::size_t ahead;  // bytes from what is multiplied to what is fetched to L2 meanwhile
    Products out;
};

// cols is a multiple of the encoding's block.
struct Int15Task {
    Encoding encoding;
    Rows rows;
    Int15Activations x;
    std::size_t n_tokens, cols;
    Products out;
};

// Panels of sixteen rows (panels.hpp); cols is a multiple of the encoding's block.
struct PanelTask {
    Encoding encoding;
    const std::uint8_t* panels;
    std::size_t rows;
    Int15Activations x;
    std::size_t n_tokens, cols;
    Products out;
};

// int8 codes of activations, or one of the halves of int15's, and their sums over groups of columns.
struct Int4Activations {
    const std::int8_t* codes;  // [n_tokens, stride]
    const float* sums;         // [n_tokens, groups], whole numbers
};

// Panels of INT4 (int4_panels.hpp); group is a multiple of 32, cols one of group.
struct Int4Task {
    const std::uint8_t* panels;
    std::size_t rows, cols, group;
    Int4Activations x[2];
    std::size_t halves;    // of x: one, or the high and the low halves
    const float* factors;  // [n_tokens, groups], which multiply the scales
    std::size_t stride, n_tokens;
    Products out;
};

// Where int8 codes of rows go: `stride` codes for each row, and a scale and a sum for each group of its columns.
struct Int8Rows {
    std::int8_t* codes;
    std::size_t stride;
    float* scales;
    std::int32_t* sums;
    std::size_t groups;  // of a whole row
    std::size_t group;   // columns
};

inline constexpr std::size_t kMaxRotationGroup = 256;

// Rotations of pairs of columns within groups (rotation.hpp) of at most kMaxRotationGroup columns, a multiple of 32.
struct RotationTask {
    std::size_t rotations, groups, group;
    std::size_t first, last;          // of the groups that are rotated
    const float* scales;              // [groups, group], before the first rotation
    const float *cos, *sin;           // [rotations, groups, group / 2]
    const std::uint16_t* tile_pairs;  // [rotations, groups, group / 2, 2]: 16 times columns of a group
    const std::uint8_t* places;       // [rotations, groups, 2, group / 2], then [groups, group]
    const float* x;
    std::size_t x_stride;
    float* out;                        // may be x; null where nothing reads the rotated floats
    std::size_t out_stride, n_tokens;  // at most 16
    Int8Rows quantized = {};           // of columns that begin at the first rotated group; no codes: none
};

// Rows of F32, F16 or BF16; cols is a multiple of 16.
struct FloatTask {
    Encoding encoding;
    Rows rows;
    FloatActivations x;
    std::size_t n_tokens, cols;
    Products out;
};

// Panels of F32 or F16: panel p holds the columns 16 p .. 16 p + 15 (the last one zeros behind `columns`), [rank, 16].
struct LowRankTask {
    Encoding encoding;
    const std::uint8_t* panels;
    std::size_t rank, columns;
    FloatActivations hidden;  // [n_tokens, rank]
    std::size_t n_tokens;
    Products out;
};

// Row-major matrices a [rows, terms], b [terms, columns] and c [rows, columns]; columns is a multiple of 16.
struct ProductTask {
    const float* a;
    std::size_t a_stride;
    const float* b;
    std::size_t b_stride;
    float* c;
    std::size_t c_stride;
    std::size_t rows, terms, columns;
};

// Products of floats by halves of bfloat16 (split_amx.hpp): multiples of kSplitTokens tokens, kSplitTerms terms, at
// most kMostSplitTerms, and kSplitColumns columns. The left matrix lies in blocks of kSplitTokens tokens and kSplitTerms
// terms, with two halves: [2, kSplitTokens, kSplitTerms]. Blocks of the same tokens follow each other.
inline constexpr std::size_t kSplitTokens = 32, kSplitTerms = 32, kMostSplitTerms = 128, kSplitColumns = 32;
inline constexpr std::size_t kSplitBlock = 2 * kSplitTokens * kSplitTerms;
struct SplitTask {
    const std::uint16_t* a;
    std::size_t a_stride;  // elements from one token's block to that of the next kSplitTokens tokens
    const float* b;        // [terms, b_stride], or [columns, b_stride] with b_by_columns
    std::size_t b_stride;
    bool b_by_columns;
    float* c;  // tiles [tokens / 16, columns / 16, 16, 16]
    std::size_t tokens, terms, columns;
};

// Where one token's int15 activations go: the members of Int15Activations.
struct Int15Row {
    std::int8_t *high, *low;
    std::int16_t *high_sums, *low_sums;
    std::int32_t* eights;
    std::int16_t* values;
    float *sixteens, *thirty_twos;
    float* scale;
};

// The type of the elements of a KV block. The part of one layer and kv head holds the keys, then the values, of 64
// positions in float16, int8 or float32. int8 codes are followed by float32 scales, [64] of the keys and [64] of the
// values: value = code * scale. The order of elements is defined by the kernels (attention_float.hpp,
// attention_int8.hpp). head_stride is head_dim padded to a multiple of 16.
enum class KvType : std::uint8_t { f16, int8, f32 };

[[gnu::always_inline]] constexpr std::size_t kv_element_bytes(KvType type) {
    return type == KvType::f16 ? 2 : type == KvType::int8 ? 1 : 4;
}

[[gnu::always_inline]] constexpr std::size_t kv_values_offset(KvType type, std::size_t head_stride) {  // bytes
    return kBlockSize * head_stride * kv_element_bytes(type);
}

[[gnu::always_inline]] constexpr std::size_t kv_scales_offset(KvType type, std::size_t head_stride) {  // bytes
    return 2 * kv_values_offset(type, head_stride);
}

[[gnu::always_inline]] constexpr std::size_t kv_head_bytes(KvType type, std::size_t head_stride) {
    return kv_scales_offset(type, head_stride) + (type == KvType::int8 ? 2 * kBlockSize * sizeof(float) : 0);
}

// The results of attention over some positions, for rows of queries: the sums of e^(score - maximum) * value and of
// e^(score - maximum). A total of 0 means that a row has seen no position.
struct AttentionSums {
    float* values;   // [rows, head_stride]
    float* maximum;  // [rows]
    float* total;    // [rows]
};

[[gnu::always_inline]] constexpr std::size_t attention_sums(std::size_t rows, std::size_t head_stride) {  // floats
    return rows * (head_stride + 2);
}

[[gnu::always_inline]] inline AttentionSums attention_sums_at(float* memory, std::size_t rows,
                                                              std::size_t head_stride) {
    return {memory, memory + rows * head_stride, memory + rows * (head_stride + 1)};
}

// Attention of query tokens at consecutive positions of one sequence to the cached keys and values of one kv head at
// positions first .. last - 1; `group` query heads share the kv head. A row is a query head of a token.
struct AttentionTask {
    const float* q;  // [n_tokens] rows of [group, head_dim], q_stride floats apart
    std::size_t q_stride, n_tokens, group, head_dim, head_stride;
    KvType type;
    const std::uint8_t* pool;    // at (layer, kv head) of block 0
    const std::int32_t* blocks;  // block table of the sequence
    std::size_t block_stride;    // bytes from one block to the next
    std::size_t position;        // of the first token
    std::size_t window;          // positions that a token sees, its own among them; 0: all
    std::size_t first, last;     // first is a multiple of 64
    float scale;
    AttentionSums sums;  // the output, [n_tokens * group] rows
    float* scratch;      // attention_scratch(n_tokens * group, head_stride) floats
};

[[gnu::always_inline]] constexpr std::size_t attention_scratch(std::size_t rows, std::size_t head_stride) {
    const std::size_t converted = 16 * (head_stride > kBlockSize ? head_stride : kBlockSize);  // float16
    const std::size_t codes = rows * ((head_stride + kBlockSize) / 2 + 2);                     // int8
    return rows * (1 + kBlockSize) + (codes > converted ? codes : converted);
}

}  // namespace sterna

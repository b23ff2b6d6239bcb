// Prefill with vector lookup tables (the idea of arXiv 2512.06443), compared with the shipped GEMM tiles. For a group
// of columns and 16 tokens, a table holds all 3^group sums, so that one 256-bit load and add does 16 * group
// multiply-adds.
//
// Loops, from the outermost: 16 or 32 tokens (one thread each) > a tile of rows > a block of groups, whose tables fit
// L1 > rows > groups. The sums of a row stay in registers within a block. They have 16 bits for as many blocks as
// cannot overflow them, and are then added to 32-bit totals.
//
// All sums are exact; a sample is compared with a scalar dot product. The matrices are several copies of one layer of
// the 2B-4T shape.
#include "lab.hpp"

using namespace lab;

namespace sterna {
extern const Kernels kAvx512VnniKernels;
}

namespace {

struct Shape {
    std::size_t rows, cols;
};
constexpr Shape kLayer[] = {{3840, 2560}, {2560, 2560}, {13824, 2560}, {2560, 6912}};
constexpr std::size_t kMaxCols = 6912, kMaxRows = 13824;

constexpr std::size_t power3(int n) {
    return n ? 3 * power3(n - 1) : 1;
}

inline __m256i load_wide(const void* p) {
    return _mm256_load_si256(static_cast<const __m256i*>(p));
}
inline void store_wide(void* p, __m256i v) {
    _mm256_store_si256(static_cast<__m256i*>(p), v);
}

// Transposes 16 columns of x, int8 [16 tokens][stride], to out, int16 [column][step].
inline void transpose16(const std::int8_t* x, std::size_t stride, std::int16_t* out, std::size_t step) {
    __m128i a[16], b[16];
    for (std::size_t t = 0; t < 16; ++t) a[t] = _mm_loadu_si128(reinterpret_cast<const __m128i*>(x + t * stride));
    for (int round = 0; round < 4; ++round) {  // interleaving the halves four times transposes
        for (int i = 0; i < 8; ++i) {
            b[2 * i] = _mm_unpacklo_epi8(a[i], a[i + 8]);
            b[2 * i + 1] = _mm_unpackhi_epi8(a[i], a[i + 8]);
        }
        std::copy(b, b + 16, a);
    }
    for (std::size_t k = 0; k < 16; ++k) store_wide(out + k * step, _mm256_cvtepi8_epi16(a[k]));
}

// Transposes eight rows of eight sums and converts them to float32.
inline void transpose8(const std::int32_t* in, std::size_t in_stride, float* out, std::size_t out_stride) {
    __m256i a[8], b[8];
    for (std::size_t i = 0; i < 8; ++i) a[i] = load_wide(in + i * in_stride);
    for (int i = 0; i < 4; ++i) {
        b[2 * i] = _mm256_unpacklo_epi32(a[2 * i], a[2 * i + 1]);
        b[2 * i + 1] = _mm256_unpackhi_epi32(a[2 * i], a[2 * i + 1]);
    }
    for (int h = 0; h < 2; ++h)
        for (int i = 0; i < 2; ++i) {
            a[4 * h + 2 * i] = _mm256_unpacklo_epi64(b[4 * h + i], b[4 * h + 2 + i]);
            a[4 * h + 2 * i + 1] = _mm256_unpackhi_epi64(b[4 * h + i], b[4 * h + 2 + i]);
        }
    for (std::size_t i = 0; i < 4; ++i) {
        const auto store = [&](std::size_t row, __m256i v) {
            _mm256_storeu_ps(out + row * out_stride, _mm256_cvtepi32_ps(v));
        };
        store(i, _mm256_permute2x128_si256(a[i], a[i + 4], 0x20));
        store(i + 4, _mm256_permute2x128_si256(a[i], a[i + 4], 0x31));
    }
}

// Lookup tables of kGroup columns for kVecs * 16 tokens, kBlock tables at a time.
template <int kGroup, int kVecs, int kBlock>
struct VectorTables {
    static constexpr std::size_t kTokens = 16 * kVecs, kEntries = power3(kGroup), kEntryBytes = 32 * kVecs;
    static constexpr std::size_t kTableBytes = kEntries * kEntryBytes;
    static constexpr std::size_t kBlocksPer16Bit = 32767 / (128 * kGroup) / kBlock;
    static constexpr std::size_t kTileRows = 3456;

    static std::size_t blocks(std::size_t cols) { return (cols + kGroup * kBlock - 1) / (kGroup * kBlock); }
    static std::size_t bytes(Shape s) { return s.rows * blocks(s.cols) * kBlock; }

    // Layout: [tile][block][row][group]. A byte is a number below 3^kGroup, whose base-3 digits are the codes of a
    // group with the first column leading.
    static void pack(const std::int8_t* w, Shape s, std::uint8_t* out) {
        for (std::size_t first = 0; first < s.rows; first += kTileRows)
            for (std::size_t b = 0; b < blocks(s.cols); ++b)
                for (std::size_t r = first; r < std::min(first + kTileRows, s.rows); ++r)
                    for (std::size_t g = 0; g < kBlock; ++g) {
                        unsigned index = 0;
                        for (std::size_t j = 0; j < kGroup; ++j) {
                            const std::size_t k = (b * kBlock + g) * kGroup + j;
                            index = 3 * index + static_cast<unsigned>(k < s.cols ? w[r * s.cols + k] + 1 : 1);
                        }
                        *out++ = static_cast<std::uint8_t>(index);
                    }
    }

    struct Scratch {
        Memory<std::int16_t> x{(kMaxCols + kGroup * kBlock + 16) * kTokens};
        Memory<std::uint8_t> tables{kBlock * kTableBytes};
        Memory<std::int16_t> sums{kTileRows * kTokens};
        Memory<std::int32_t> totals{kTileRows * kTokens};
    };

    template <int kLevel>
    static void fill(const __m256i x[kGroup][kVecs], const __m256i start[kVecs], std::uint8_t*& out) {
        __m256i v[kVecs];
        std::copy(start, start + kVecs, v);
        for (int digit = 0; digit < 3; ++digit) {
            if constexpr (kLevel == kGroup - 1) {
                for (int i = 0; i < kVecs; ++i) store_wide(out + 32 * i, v[i]);
                out += kEntryBytes;
            } else {
                fill<kLevel + 1>(x, v, out);
            }
            for (int i = 0; i < kVecs; ++i) v[i] = _mm256_add_epi16(v[i], x[kLevel][i]);
        }
    }

    static void build(const std::int16_t* x, std::uint8_t* tables) {
        for (int g = 0; g < kBlock; ++g) {
            __m256i values[kGroup][kVecs], start[kVecs];
            for (int i = 0; i < kVecs; ++i) {
                start[i] = _mm256_setzero_si256();
                for (int j = 0; j < kGroup; ++j) {
                    values[j][i] = load_wide(x + static_cast<std::size_t>(g * kGroup + j) * kTokens + 16 * i);
                    start[i] = _mm256_sub_epi16(start[i], values[j][i]);
                }
            }
            fill<0>(values, start, tables);
        }
    }

    static void add_block(const std::uint8_t* index, std::size_t rows, const std::uint8_t* tables, std::int16_t* sums) {
        for (std::size_t r = 0; r < rows; ++r, index += kBlock, sums += kTokens) {
            __m256i v[kVecs];
            for (int i = 0; i < kVecs; ++i) v[i] = load_wide(sums + 16 * i);
#pragma GCC unroll 16
            for (int g = 0; g < kBlock; ++g) {
                const std::uint8_t* entry = tables + index[g] * kEntryBytes;
                for (int i = 0; i < kVecs; ++i)
                    v[i] =
                        _mm256_add_epi16(v[i], load_wide(entry + static_cast<std::size_t>(g) * kTableBytes + 32 * i));
            }
            for (int i = 0; i < kVecs; ++i) store_wide(sums + 16 * i, v[i]);
        }
    }

    static void widen(std::int16_t* sums, std::int32_t* totals, std::size_t n) {
        for (std::size_t i = 0; i < n; i += 16) {
            const __m256i v = load_wide(sums + i);
            const auto add = [&](std::int32_t* p, __m128i half) {
                store_wide(p, _mm256_add_epi32(load_wide(p), _mm256_cvtepi16_epi32(half)));
            };
            add(totals + i, _mm256_castsi256_si128(v));
            add(totals + i + 8, _mm256_extracti128_si256(v, 1));
            store_wide(sums + i, _mm256_setzero_si256());
        }
    }

    // Writes dots[token][row] of kTokens tokens.
    static void multiply(const std::uint8_t* index, Shape s, const std::int8_t* x, float* dots, Scratch& scratch) {
        const std::size_t n_blocks = blocks(s.cols);
        std::memset(scratch.x.data + s.cols * kTokens, 0, kGroup * kBlock * kTokens * 2);
        for (std::size_t k = 0; k < s.cols; k += 16)
            for (std::size_t t = 0; t < kTokens; t += 16)
                transpose16(x + t * s.cols + k, s.cols, scratch.x.data + k * kTokens + t, kTokens);
        for (std::size_t first = 0; first < s.rows; first += kTileRows) {
            const std::size_t rows = std::min(kTileRows, s.rows - first);
            std::memset(scratch.sums.data, 0, rows * kTokens * 2);
            std::memset(scratch.totals.data, 0, rows * kTokens * 4);
            for (std::size_t b = 0; b < n_blocks; ++b, index += rows * kBlock) {
                build(scratch.x.data + b * kBlock * kGroup * kTokens, scratch.tables.data);
                add_block(index, rows, scratch.tables.data, scratch.sums.data);
                if (b % kBlocksPer16Bit == kBlocksPer16Bit - 1 || b + 1 == n_blocks)
                    widen(scratch.sums.data, scratch.totals.data, rows * kTokens);
            }
            for (std::size_t r = 0; r < rows; r += 8)
                for (std::size_t t = 0; t < kTokens; t += 8)
                    transpose8(scratch.totals.data + r * kTokens + t, kTokens, dots + t * s.rows + first + r, s.rows);
        }
    }
};

struct Engine {
    std::string name;
    std::function<std::size_t(Shape)> bytes;
    std::function<void(const std::int8_t*, Shape, std::uint8_t*)> pack;
    // Computes the part of dots[token][row] that belongs to thread `thread` of `n`.
    std::function<void(const std::uint8_t*, Shape, const std::int8_t*, const std::int32_t*, std::size_t tokens, float*,
                       std::size_t thread, std::size_t n)>
        run;
};

// Threads share the rows, as in native/engine/linear.
Engine shipped(const sterna::Kernels& kernels) {
    return {kernels.isa, [](Shape s) { return s.rows * s.cols / 4; },
            [](const std::int8_t* w, Shape s, std::uint8_t* out) {
                for (std::size_t r = 0; r < s.rows; ++r) pack_i2_s(w + r * s.cols, s.cols, out + r * s.cols / 4);
            },
            [&kernels](const std::uint8_t* rows, Shape s, const std::int8_t* x, const std::int32_t* sums,
                       std::size_t tokens, float* dots, std::size_t thread, std::size_t n) {
                static const std::vector<float> scales(4096, 1.0f);
                const std::size_t first = s.rows * thread / n, last = s.rows * (thread + 1) / n;
                kernels.ternary_dot({{rows + first * s.cols / 4, s.cols / 4, last - first},
                                     1,
                                     {x, sums, scales.data(), s.cols},
                                     tokens,
                                     s.cols,
                                     {dots + first, s.rows}});
            }};
}

template <int kGroup, int kVecs, int kBlock>
Engine tables() {
    using Tables = VectorTables<kGroup, kVecs, kBlock>;
    char name[80];
    std::snprintf(name, sizeof name, "group %d, %2zu tokens, %2d tables (%zu kB)", kGroup, Tables::kTokens, kBlock,
                  kBlock * Tables::kTableBytes >> 10);
    return {name, Tables::bytes, Tables::pack,
            [](const std::uint8_t* index, Shape s, const std::int8_t* x, const std::int32_t*, std::size_t tokens,
               float* dots, std::size_t thread, std::size_t n) {
                static typename Tables::Scratch scratch[2];
                for (std::size_t t = thread * Tables::kTokens; t < tokens; t += n * Tables::kTokens)
                    Tables::multiply(index, s, x + t * s.cols, dots + t * s.rows, scratch[thread]);
            }};
}

// The engine's lookup kernel, which reads I2_S rows as they are stored. Threads share the rows.
Engine shipped_tables(const sterna::Kernels& kernels) {
    Engine same = shipped(kernels);
    same.name = "I2_S, shipped";
    same.run = [&kernels](const std::uint8_t* rows, Shape s, const std::int8_t* x, const std::int32_t* sums,
                          std::size_t tokens, float* dots, std::size_t thread, std::size_t n) {
        static const std::vector<float> scales(4096, 1.0f);
        static Memory<std::uint8_t> scratch[2] = {Memory<std::uint8_t>(sterna::kLookupScratch),
                                                  Memory<std::uint8_t>(sterna::kLookupScratch)};
        const std::size_t tiles = (s.rows + n * sterna::kLookupRows - 1) / (n * sterna::kLookupRows) * n;
        for (std::size_t t = 0; t < tokens; t += sterna::kLookupTokens)
            for (std::size_t tile = thread; tile < tiles; tile += n) {
                const std::size_t first = s.rows * tile / tiles, last = s.rows * (tile + 1) / tiles;
                kernels.lookup_dot({{rows + first * s.cols / 4, s.cols / 4, last - first},
                                    1,
                                    {x + t * s.cols, sums + t, scales.data(), s.cols},
                                    std::min(sterna::kLookupTokens, tokens - t),
                                    s.cols,
                                    {dots + t * s.rows + first, s.rows}},
                                   scratch[thread].data);
            }
    };
    return same;
}

}  // namespace

int main(int argc, char** argv) {
    const int repetitions = argc > 1 ? std::atoi(argv[1]) : 5;
    const auto tokens = static_cast<std::size_t>(argc > 2 ? std::atoi(argv[2]) : 512);
    const std::size_t copies = 3;
    const double zeros = 0.4;
    std::vector<Engine> engines = {shipped(sterna::kAvx2Kernels),
                                   tables<3, 2, 16>(),
                                   tables<4, 1, 12>(),
                                   tables<4, 2, 4>(),
                                   tables<4, 2, 6>(),
                                   tables<4, 2, 8>(),
                                   tables<5, 2, 3>(),
                                   shipped_tables(sterna::kAvx2Kernels)};
    if (__builtin_cpu_supports("avx512vnni")) engines.push_back(shipped(sterna::kAvx512VnniKernels));
    std::vector<std::vector<std::unique_ptr<Memory<std::uint8_t>>>> packed(engines.size());
    std::vector<std::vector<std::int8_t>> weights, x;
    std::vector<std::vector<std::int32_t>> sums;
    std::vector<float> dots(tokens * kMaxRows);
    double macs = 0;
    for (const Shape s : kLayer) {
        weights.push_back(random_trits(s.rows * s.cols, zeros, static_cast<unsigned>(s.rows)));
        x.push_back(random_codes(tokens, s.cols, 3, 5));
        sums.emplace_back(tokens);
        for (std::size_t i = 0; i < x.back().size(); ++i) sums.back()[i / s.cols] += x.back()[i];
        macs += static_cast<double>(s.rows * s.cols * tokens);
        // Weights with the signs of an extreme token make the largest possible sums.
        for (std::size_t k = 0; k < s.cols; ++k) weights.back()[k] = x.back()[k] > 0 ? 1 : -1;
    }
    for (std::size_t e = 0; e < engines.size(); ++e)
        for (std::size_t copy = 0; copy < copies; ++copy)
            for (std::size_t m = 0; m < 4; ++m) {
                const Shape s = kLayer[m];
                const std::size_t bytes = engines[e].bytes(s);
                packed[e].push_back(std::make_unique<Memory<std::uint8_t>>(bytes + 65536));
                if (copy == 0)
                    engines[e].pack(weights[m].data(), s, packed[e].back()->data);
                else
                    std::memcpy(packed[e].back()->data, packed[e][m]->data, bytes);
            }
    for (std::size_t e = 0; e < engines.size(); ++e)
        for (std::size_t m = 0; m < 4; ++m) {
            const Shape s = kLayer[m];
            std::fill(dots.begin(), dots.end(), -1.0f);
            for (std::size_t t = 0; t < 2; ++t)
                engines[e].run(packed[e][m]->data, s, x[m].data(), sums[m].data(), tokens, dots.data(), t, 2);
            for (std::size_t i = 0; i < 200000; ++i) {
                const std::size_t r = i < tokens ? 0 : i * 7919 % s.rows, t = i < tokens ? i : i * 104729 % tokens;
                if (dots[t * s.rows + r] != dot(weights[m].data() + r * s.cols, x[m].data() + t * s.cols, s.cols))
                    fail(engines[e].name + " row " + std::to_string(r) + " token " + std::to_string(t));
            }
        }
    std::printf("all right; %zu tokens\n", tokens);
    for (const std::size_t threads : {1u, 2u}) {
        std::vector<double> rate;
        std::vector<std::vector<double>> times(engines.size());
        for (int i = 0; i < repetitions; ++i) {
            rate.push_back(multiply_add_rate(static_cast<int>(threads)));
            for (std::size_t e = 0; e < engines.size(); ++e) {
                const std::size_t copy = static_cast<std::size_t>(i) % copies;
                times[e].push_back(seconds(static_cast<int>(threads), [&](int t, int n) {
                    for (std::size_t m = 0; m < 4; ++m)
                        engines[e].run(packed[e][4 * copy + m]->data, kLayer[m], x[m].data(), sums[m].data(), tokens,
                                       dots.data(), static_cast<std::size_t>(t), static_cast<std::size_t>(n));
                }));
            }
        }
        std::printf("%zu threads: maddubs %.0f G/s\n", threads, median(rate));
        for (std::size_t e = 0; e < engines.size(); ++e)
            std::printf("  %-48s %6.1f G/s  x%.2f of avx2\n", engines[e].name.c_str(), macs / 1e9 / median(times[e]),
                        median(times[0]) / median(times[e]));
    }
}

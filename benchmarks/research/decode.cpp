// Decode (one token) with fewer bytes per weight or with lookup tables, compared with the shipped I2_S kernel:
//
//   i2_s    2.00 bits   maddubs over unpacked codes, row by row (native/kernels/isa_avx2.cpp)
//   base3   1.60 bits   five trits per byte, as a fraction of 256: comparisons give its leading base-3 digit, and
//                       multiplying by 3 brings the next digit to the front
//   base27  1.69 bits   three trits in 4 + 1 bits: vpshufb maps a 4-bit index to each of its trits, a sign bit negates
//                       all three
//   lut2    2.00 bits   32 rows per vector; vpshufb looks up the sum of two trits times two activations (TL1)
//   lut3    1.69 bits   as lut2 with three trits: 14 sums and a sign bit (TL2)
//
// All sums are exact; all rows are compared with a scalar dot product.
#include "lab.hpp"

using namespace lab;

namespace {

constexpr std::size_t kCols = 2560, kPadded = 2592, kBaseRows = 640;

__m256i set8(int v) {
    return _mm256_set1_epi8(static_cast<char>(v));
}

__m256i broadcast128(const void* p) {
    return _mm256_broadcastsi128_si256(_mm_loadu_si128(static_cast<const __m128i*>(p)));
}

void prefetch(const std::uint8_t* p) {
    _mm_prefetch(reinterpret_cast<const char*>(p + 4096), _MM_HINT_T0);
}

// The activations of one token, in all forms that the kernels need.
struct Input {
    alignas(64) std::int8_t x[kPadded] = {};
    alignas(64) std::uint8_t shifted[kPadded + 64] = {};  // x + 128
    alignas(64) std::uint8_t pairs[kPadded / 2][2][16] = {};
    alignas(64) std::uint8_t triples[kPadded / 3][2][16] = {};
    std::int32_t sum = 0;
    float scale = 1;
} input;

// A sum is split as 64 * (high - 4) + low, so that the sum of four low parts fits 8 bits.
void build_pairs() {
    for (std::size_t g = 0; g < kCols / 2; ++g)
        for (int i = 0; i < 9; ++i) {
            const int t = (i / 3 - 1) * input.x[2 * g] + (i % 3 - 1) * input.x[2 * g + 1];
            input.pairs[g][0][i] = static_cast<std::uint8_t>(t & 63);
            input.pairs[g][1][i] = static_cast<std::uint8_t>((t >> 6) + 4);
        }
}

// Balanced ternary: v = 9 a + 3 b + c with digits -1, 0, 1.
void digits(int v, int out[3]) {
    out[0] = v > 4 ? 1 : v < -4 ? -1 : 0;
    v -= 9 * out[0];
    out[1] = v > 1 ? 1 : v < -1 ? -1 : 0;
    out[2] = v - 3 * out[1];
}

void build_triples() {
    for (std::size_t g = 0; g < kPadded / 3; ++g)
        for (int i = 0; i < 14; ++i) {
            int d[3];
            digits(i, d);
            const std::int8_t* x = input.x + 3 * g;
            const int t = d[0] * x[0] + d[1] * x[1] + d[2] * x[2], high = (t + 31 * 64 + 15) / 31 - 64;
            input.triples[g][0][i] = static_cast<std::uint8_t>(t - 31 * high);
            input.triples[g][1][i] = static_cast<std::uint8_t>(high);
        }
}

// ---------------------------------------------------------------------------------------------------------- i2_s
void pack_row_i2_s(const std::int8_t* w, std::uint8_t* out, std::int16_t*) {
    pack_i2_s(w, kCols, out);
}

void run_i2_s(const std::uint8_t* rows, const std::int16_t*, std::size_t n, float* out) {
    sterna::kAvx2Kernels.ternary_dot(
        {{rows, kCols / 4, n}, 1, {input.x, &input.sum, &input.scale, kCols}, 1, kCols, {out, n}});
}

// --------------------------------------------------------------------------------------------------------- base3
// 160 columns in 32 bytes: byte b holds columns b, b + 32 ... b + 128, the first as the leading digit. 128 is
// subtracted from each byte, so that bytes compare as signed numbers.
void pack_row_base3(const std::int8_t* w, std::uint8_t* out, std::int16_t* correction) {
    int sum = 0;
    for (std::size_t block = 0; block < kCols / 160; ++block)
        for (std::size_t b = 0; b < 32; ++b) {
            unsigned n = 0;
            for (std::size_t q = 0; q < 5; ++q) {
                const int trit = w[160 * block + 32 * q + b];
                n = 3 * n + static_cast<unsigned>(trit + 1);
                sum += trit;
            }
            out[32 * block + b] = static_cast<std::uint8_t>((n * 256 + 242) / 243 ^ 128);
        }
    *correction = static_cast<std::int16_t>(sum);
}

// A maddubs lane adds two products of a byte 0..255 and a trit, at most 510; twelve blocks of five such sums make
// 12 * 5 * 510 = 30600 < 32767.
void run_base3(const std::uint8_t* rows, const std::int16_t* sums, std::size_t n, float* out) {
    const __m256i upper = set8(42), lower = set8(-42), ones = _mm256_set1_epi16(1);
    for (std::size_t r = 0; r < n; ++r, rows += kCols / 5) {
        __m256i acc32 = _mm256_setzero_si256();
        for (std::size_t first = 0; first < kCols / 160; first += 12) {
            const std::size_t last = std::min(first + 12, kCols / 160);
            __m256i acc16 = _mm256_setzero_si256();
            for (std::size_t block = first; block < last; ++block) {
                __m256i v = load256(rows + 32 * block);
                prefetch(rows + 32 * block);
#pragma GCC unroll 5
                for (int q = 0; q < 5; ++q) {
                    const __m256i trits = _mm256_sub_epi8(_mm256_cmpgt_epi8(lower, v), _mm256_cmpgt_epi8(v, upper));
                    acc16 = _mm256_add_epi16(
                        acc16, _mm256_maddubs_epi16(load256(input.shifted + 160 * block + 32 * q), trits));
                    v = _mm256_add_epi8(v, _mm256_add_epi8(v, v));
                }
            }
            acc32 = _mm256_add_epi32(acc32, _mm256_madd_epi16(acc16, ones));
        }
        out[r] = static_cast<float>(lab::sum32(acc32) - 128 * sums[r]);
    }
}

// -------------------------------------------------------------------------------------------------------- base27
// 192 columns in 32 + 8 bytes: the low nibble of byte b holds columns b, b + 32 and b + 64, the high nibble these
// columns + 96; then come 64 sign bits. The last 64 columns of 2560 take 16 bytes, whose high nibbles hold indices
// 16..31, and 32 sign bits.
constexpr std::size_t kBase27Bytes = 13 * 40 + 20;

void pack_row_base27(const std::int8_t* w, std::uint8_t* out, std::int16_t* correction) {
    int sum = 0;
    const auto at = [&](std::size_t k) { return k < kCols ? w[k] : 0; };
    const auto value = [&](std::size_t k) { return 9 * at(k) + 3 * at(k + 32) + at(k + 64); };
    for (std::size_t k = 0; k < kCols; ++k) sum += w[k];
    std::memset(out, 0, kBase27Bytes);
    const auto put = [&](std::size_t block, std::size_t i, std::size_t byte, int shift, std::size_t half) {
        const int v = value(192 * block + 96 * half + i);
        out[40 * block + byte] |= static_cast<std::uint8_t>(std::abs(v) << shift);
        const std::size_t signs = 40 * block + (block < 13 ? 32 : 16);
        if (v < 0) out[signs + 4 * half + i / 8] |= static_cast<std::uint8_t>(1 << (i % 8));
    };
    for (std::size_t block = 0; block < 13; ++block)
        for (std::size_t i = 0; i < 32; ++i) put(block, i, i, 0, 0), put(block, i, i, 4, 1);
    for (std::size_t i = 0; i < 32; ++i) put(13, i, i % 16, i < 16 ? 0 : 4, 0);
    *correction = static_cast<std::int16_t>(sum);
}

struct Base27 {
    __m256i digit[3], replicate, bits;
    Base27() {
        alignas(16) std::int8_t t[3][16] = {};
        for (int i = 0; i < 14; ++i) {
            int d[3];
            digits(i, d);
            for (int j = 0; j < 3; ++j) t[j][i] = static_cast<std::int8_t>(d[j]);
        }
        for (int j = 0; j < 3; ++j) digit[j] = broadcast128(t[j]);
        alignas(32) std::int8_t r[32], b[32];
        for (int i = 0; i < 32; ++i)
            r[i] = static_cast<std::int8_t>(i / 8), b[i] = static_cast<std::int8_t>(1 << (i % 8));
        replicate = load256(r);
        bits = load256(b);
    }
    // Products with 96 columns: each lane adds three maddubs results, at most 3 * 510.
    __m256i step(__m256i index, const std::uint8_t* signs, const std::uint8_t* x) const {
        std::int32_t s;
        std::memcpy(&s, signs, 4);
        const __m256i spread = _mm256_shuffle_epi8(_mm256_set1_epi32(s), replicate);
        const __m256i sign = _mm256_or_si256(_mm256_cmpeq_epi8(_mm256_and_si256(spread, bits), bits), set8(1));
        __m256i sum = _mm256_setzero_si256();
        for (int j = 0; j < 3; ++j)
            sum = _mm256_add_epi16(sum,
                                   _mm256_maddubs_epi16(load256(x + 32 * j),
                                                        _mm256_sign_epi8(_mm256_shuffle_epi8(digit[j], index), sign)));
        return sum;
    }
};

void run_base27(const std::uint8_t* rows, const std::int16_t* sums, std::size_t n, float* out) {
    const Base27 table;
    const __m256i nibble = set8(15), ones = _mm256_set1_epi16(1);
    for (std::size_t r = 0; r < n; ++r, rows += kBase27Bytes) {
        __m256i acc32 = _mm256_setzero_si256();
        const std::uint8_t *block = rows, *x = input.shifted;
        for (std::size_t first = 0; first < 13; first += 7) {  // 7 * 6 * 510 < 32767
            __m256i acc16 = _mm256_setzero_si256();
            for (std::size_t i = first; i < std::min<std::size_t>(first + 7, 13); ++i, block += 40, x += 192) {
                const __m256i w = load256(block);
                prefetch(block);
                acc16 = _mm256_add_epi16(acc16, table.step(_mm256_and_si256(w, nibble), block + 32, x));
                acc16 = _mm256_add_epi16(
                    acc16, table.step(_mm256_and_si256(_mm256_srli_epi16(w, 4), nibble), block + 36, x + 96));
            }
            if (first) {
                const __m128i w = _mm_loadu_si128(reinterpret_cast<const __m128i*>(block));
                const __m256i index = _mm256_and_si256(_mm256_set_m128i(_mm_srli_epi16(w, 4), w), nibble);
                acc16 = _mm256_add_epi16(acc16, table.step(index, block + 16, x));
            }
            acc32 = _mm256_add_epi32(acc32, _mm256_madd_epi16(acc16, ones));
        }
        out[r] = static_cast<float>(lab::sum32(acc32) - 128 * sums[r]);
    }
}

// --------------------------------------------------------------------------------------------------- lut2, lut3
// Sums over bytes of 32 rows, in 16 bits: `all` adds whole 16-bit lanes, which hold two bytes each; `odd` adds their
// upper bytes.
struct ByteSums {
    __m256i all = _mm256_setzero_si256(), odd = _mm256_setzero_si256();
    void add(__m256i bytes) {
        all = _mm256_add_epi16(all, bytes);
        odd = _mm256_add_epi16(odd, _mm256_srli_epi16(bytes, 8));
    }
    void store(std::uint16_t out[32]) const {
        alignas(32) std::uint16_t a[16], o[16];
        _mm256_store_si256(reinterpret_cast<__m256i*>(a), all);
        _mm256_store_si256(reinterpret_cast<__m256i*>(o), odd);
        for (int i = 0; i < 16; ++i) {
            out[2 * i] = static_cast<std::uint16_t>(a[i] - (o[i] << 8));
            out[2 * i + 1] = o[i];
        }
    }
};

// A tile is 32 rows. 32 columns take 8 vectors, whose low and high nibbles are the indices of two pairs of columns.
constexpr std::size_t kLut2Tile = kCols / 32 * 256;

void pack_tile_lut2(const std::int8_t* w, std::uint8_t* out, std::int16_t*) {
    const auto index = [&](std::size_t row, std::size_t g) {
        const std::int8_t* p = w + row * kCols + 2 * g;
        return 3 * (p[0] + 1) + p[1] + 1;
    };
    for (std::size_t v = 0; v < kCols / 4; ++v)
        for (std::size_t row = 0; row < 32; ++row)
            out[32 * v + row] = static_cast<std::uint8_t>(index(row, 2 * v) | index(row, 2 * v + 1) << 4);
}

void run_lut2(const std::uint8_t* tiles, const std::int16_t*, std::size_t n, float* out) {
    const __m256i nibble = set8(15);
    for (std::size_t row = 0; row < n; row += 32, out += 32) {
        for (int i = 0; i < 32; ++i) out[i] = -64 * 4 * static_cast<float>(kCols / 2);  // the bias of the high parts
        const std::uint8_t(*table)[2][16] = input.pairs;
        for (int half = 0; half < 2; ++half) {
            ByteSums low, high;  // 40 blocks of 4 * 252 fit 16 bits
            for (std::size_t block = 0; block < kCols / 64; ++block) {
                __m256i highs = _mm256_setzero_si256();  // sums of 16 values of at most 8
#pragma GCC unroll 4
                for (int quad = 0; quad < 4; ++quad, tiles += 64, table += 4) {
                    const __m256i w0 = load256(tiles), w1 = load256(tiles + 32);
                    prefetch(tiles);
                    const __m256i i0 = _mm256_and_si256(w0, nibble);
                    const __m256i i1 = _mm256_and_si256(_mm256_srli_epi16(w0, 4), nibble);
                    const __m256i i2 = _mm256_and_si256(w1, nibble);
                    const __m256i i3 = _mm256_and_si256(_mm256_srli_epi16(w1, 4), nibble);
                    const auto look = [&](int g, int part, __m256i i) {
                        return _mm256_shuffle_epi8(broadcast128(table[g][part]), i);
                    };
                    low.add(_mm256_add_epi8(_mm256_add_epi8(look(0, 0, i0), look(1, 0, i1)),
                                            _mm256_add_epi8(look(2, 0, i2), look(3, 0, i3))));
                    highs = _mm256_add_epi8(highs, _mm256_add_epi8(_mm256_add_epi8(look(0, 1, i0), look(1, 1, i1)),
                                                                   _mm256_add_epi8(look(2, 1, i2), look(3, 1, i3))));
                }
                high.add(highs);
            }
            std::uint16_t l[32], h[32];
            low.store(l);
            high.store(h);
            for (int i = 0; i < 32; ++i) out[i] += static_cast<float>(l[i] + 64 * h[i]);
        }
    }
}

// 24 columns of a tile take 4 vectors of indices and one of signs, in which bit 7 belongs to the first group. Sums are
// split as 31 * high + low, both signed and small: eight of each fit 8 bits, and vpsignb negates both exactly.
constexpr std::size_t kLut3Tile = kPadded / 24 * 160;

void pack_tile_lut3(const std::int8_t* w, std::uint8_t* out, std::int16_t*) {
    std::memset(out, 0, kLut3Tile);
    for (std::size_t row = 0; row < 32; ++row) {
        const auto at = [&](std::size_t k) { return k < kCols ? w[row * kCols + k] : 0; };
        for (std::size_t g = 0; g < kPadded / 3; ++g) {
            const int v = 9 * at(3 * g) + 3 * at(3 * g + 1) + at(3 * g + 2);
            std::uint8_t* block = out + g / 8 * 160;
            block[g % 8 / 2 * 32 + row] |= static_cast<std::uint8_t>(std::abs(v) << (4 * (g % 2)));
            if (v < 0) block[128 + row] |= static_cast<std::uint8_t>(128 >> (g % 8));
        }
    }
}

void run_lut3(const std::uint8_t* tiles, const std::int16_t*, std::size_t n, float* out) {
    const __m256i nibble = set8(15), one = set8(1), bias = set8(-128);
    for (std::size_t row = 0; row < n; row += 32, out += 32) {
        const std::uint8_t(*table)[2][16] = input.triples;
        ByteSums low, high;  // 108 blocks of at most 128 + 120 fit 16 bits
        for (std::size_t block = 0; block < kPadded / 24; ++block, tiles += 160, table += 8) {
            const __m256i signs = load256(tiles + 128);
            prefetch(tiles);
            prefetch(tiles + 64);
            prefetch(tiles + 128);
            __m256i sign = _mm256_or_si256(signs, one);  // bit 0 survives six shifts: vpsignb by 0 would give 0
            __m256i lows = bias, highs = bias;
#pragma GCC unroll 8
            for (int g = 0; g < 8; ++g) {
                const __m256i w = load256(tiles + 32 * (g / 2));
                const __m256i i = _mm256_and_si256(g % 2 ? _mm256_srli_epi16(w, 4) : w, nibble);
                if (g == 7) sign = _mm256_or_si256(_mm256_slli_epi16(signs, 7), one);
                lows = _mm256_add_epi8(lows, _mm256_sign_epi8(_mm256_shuffle_epi8(broadcast128(table[g][0]), i), sign));
                highs =
                    _mm256_add_epi8(highs, _mm256_sign_epi8(_mm256_shuffle_epi8(broadcast128(table[g][1]), i), sign));
                sign = _mm256_add_epi8(sign, sign);
            }
            low.add(lows);
            high.add(highs);
        }
        std::uint16_t l[32], h[32];
        low.store(l);
        high.store(h);
        constexpr int kBias = 128 * static_cast<int>(kPadded / 24);
        for (int i = 0; i < 32; ++i) out[i] = static_cast<float>(l[i] - kBias + 31 * (h[i] - kBias));
    }
}

// -------------------------------------------------------------------------------------------------------- bench
struct Format {
    const char* name;
    std::size_t tile_rows, tile_bytes;
    void (*pack)(const std::int8_t*, std::uint8_t*, std::int16_t*);
    void (*run)(const std::uint8_t*, const std::int16_t*, std::size_t, float*);
};

const Format kFormats[] = {
    {"i2_s", 1, kCols / 4, pack_row_i2_s, run_i2_s},          {"base3", 1, kCols / 5, pack_row_base3, run_base3},
    {"base27", 1, kBase27Bytes, pack_row_base27, run_base27}, {"lut2", 32, kLut2Tile, pack_tile_lut2, run_lut2},
    {"lut3", 32, kLut3Tile, pack_tile_lut3, run_lut3},
};
constexpr std::size_t kN = sizeof(kFormats) / sizeof(kFormats[0]);

}  // namespace

int main(int argc, char** argv) {
    const int repetitions = argc > 1 ? std::atoi(argv[1]) : 7;
    const auto copies = static_cast<std::size_t>(argc > 2 ? std::atoi(argv[2]) : 1280);  // 1280: 524 MB of I2_S
    const std::size_t rows = kBaseRows * copies;
    const auto w = random_trits(kBaseRows * kCols, 0.4, 1);

    std::vector<float> expected(kBaseRows), got(rows);
    Memory<std::int16_t> corrections(rows * kN);
    std::vector<std::unique_ptr<Memory<std::uint8_t>>> memory;
    for (std::size_t f = 0; f < kN; ++f) {
        const Format& format = kFormats[f];
        const std::size_t base = kBaseRows / format.tile_rows * format.tile_bytes;
        memory.push_back(std::make_unique<Memory<std::uint8_t>>(base * copies + 8192));
        std::uint8_t* p = memory.back()->data;
        std::int16_t* c = corrections.data + f * rows;
        for (std::size_t r = 0; r < kBaseRows; r += format.tile_rows)
            format.pack(w.data() + r * kCols, p + r / format.tile_rows * format.tile_bytes, c + r);
        for (std::size_t i = 1; i < copies; ++i) {
            std::memcpy(p + i * base, p, base);
            std::memcpy(c + i * kBaseRows, c, kBaseRows * 2);
        }
    }
    for (const bool extreme : {true, false}) {
        const auto x = random_codes(1, kCols, extreme, 3);
        std::copy(x.begin(), x.end(), input.x);
        input.sum = 0;
        for (const auto v : x) input.sum += v;
        for (std::size_t k = 0; k < kPadded + 64; ++k)
            input.shifted[k] = static_cast<std::uint8_t>((k < kCols ? input.x[k] : 0) + 128);
        build_pairs();
        build_triples();
        for (std::size_t r = 0; r < kBaseRows; ++r)
            expected[r] = static_cast<float>(dot(w.data() + r * kCols, input.x, kCols));
        for (std::size_t f = 0; f < kN; ++f) {
            std::fill(got.begin(), got.end(), -1.0f);
            kFormats[f].run(memory[f]->data, corrections.data + f * rows, rows, got.data());
            for (std::size_t r = 0; r < rows; ++r)
                if (got[r] != expected[r % kBaseRows])
                    fail(std::string(kFormats[f].name) + " row " + std::to_string(r));
        }
    }
    const double table_us = 1e6 * median([&] {
                                std::vector<double> s;
                                for (int i = 0; i < 9; ++i) s.push_back(seconds(1, [](int, int) { build_triples(); }));
                                return s;
                            }());
    std::printf("all %zu rows right; scalar table building %.0f us for 14-entry tables\n", rows, table_us);

    const std::size_t read_bytes = memory[0] ? rows * kCols / 4 / 4096 * 4096 : 0;
    for (const int threads : {1, 2}) {
        std::vector<double> bus, rate, times[2][kN];
        for (int i = 0; i < repetitions; ++i) {
            bus.push_back(static_cast<double>(read_bytes) / 1e9 / seconds(threads, [&](int t, int n) {
                              const std::size_t share = read_bytes / static_cast<std::size_t>(n);
                              volatile std::uint64_t sink = sterna::kAvx2Kernels.read_all(
                                  memory[0]->data + static_cast<std::size_t>(t) * share, share);
                              (void)sink;
                          }));
            rate.push_back(multiply_add_rate(threads));
            for (std::size_t f = 0; f < kN; ++f) {
                const Format& format = kFormats[f];
                const auto pass = [&](std::size_t first, std::size_t n) {
                    format.run(memory[f]->data + first / format.tile_rows * format.tile_bytes,
                               corrections.data + f * rows + first, n, got.data() + first);
                };
                times[0][f].push_back(seconds(threads, [&](int t, int n) {
                    const std::size_t share = rows / static_cast<std::size_t>(n);
                    pass(static_cast<std::size_t>(t) * share, share);
                }));
                constexpr std::size_t kPasses = 100;  // over 640 rows, 0.4 MB, which stay in L2
                times[1][f].push_back(seconds(threads,
                                              [&](int t, int) {
                                                  for (std::size_t i = 0; i < kPasses; ++i)
                                                      pass(static_cast<std::size_t>(t) * kBaseRows, kBaseRows);
                                              }) /
                                      (static_cast<double>(kPasses * kBaseRows) * threads) * static_cast<double>(rows));
            }
        }
        std::printf("%d threads: bus %.1f GB/s, maddubs %.0f G/s\n", threads, median(bus), median(rate));
        for (std::size_t f = 0; f < kN; ++f) {
            const double bits =
                8.0 * static_cast<double>(kFormats[f].tile_bytes) / static_cast<double>(kFormats[f].tile_rows * kCols);
            const double macs = static_cast<double>(rows * kCols) / 1e9;
            const double m = median(times[0][f]), c = median(times[1][f]);
            std::printf("  %-7s %.3f bits  memory %6.1f G/s %5.1f GB/s  x%.2f | cache %6.1f G/s %5.1f GB/s  x%.2f\n",
                        kFormats[f].name, bits, macs / m, macs * bits / 8 / m, median(times[0][0]) / m, macs / c,
                        macs * bits / 8 / c, median(times[1][0]) / c);
        }
    }
}

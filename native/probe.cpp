// Runs one kernel on inputs from stdin and writes its outputs to stdout, so that tests can compare any build of the
// kernels (cross-compiled under qemu, under sanitizers) with the numpy oracle.
//
//   sterna_probe ISA OPERATION [NUMBER ...]
//
// Each array is sent as a 64-bit byte count followed by the bytes.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <iostream>
#include <stdexcept>
#include <string>
#include <vector>

#include "engine/buffer.hpp"
#include "engine/linear/linear.hpp"
#include "engine/thread_pool.hpp"
#include "kernels/dispatch.hpp"
#include "kernels/int15_vectors.hpp"
#include "platform/system.hpp"
#include "random_rows.hpp"

namespace {

using namespace sterna;

template <class T>
std::vector<T> read_array() {
    std::uint64_t bytes = 0;
    if (std::fread(&bytes, 8, 1, stdin) != 1 || bytes % sizeof(T) != 0) throw std::runtime_error("stdin is malformed");
    std::vector<T> values(bytes / sizeof(T));
    if (std::fread(values.data(), sizeof(T), values.size(), stdin) != values.size())
        throw std::runtime_error("stdin ended early");
    return values;
}

template <class T>
void write_array(const std::vector<T>& values) {
    const std::uint64_t bytes = values.size() * sizeof(T);
    std::fwrite(&bytes, 8, 1, stdout);
    std::fwrite(values.data(), sizeof(T), values.size(), stdout);
}

// Whole groups of tokens go through lookup tables, where the ISA has them.
void ternary_dot(const Kernels& k, std::size_t n_rows, std::size_t n_tokens, std::size_t cols, bool panels) {
    const auto rows = read_array<std::uint8_t>();
    const auto x = read_array<std::int8_t>();
    std::vector<std::int32_t> sums(n_tokens);
    const std::vector<float> scales(n_tokens, 1.0f);
    std::vector<float> dots(n_rows * n_tokens);  // whole numbers, small enough to be exact in float32
    for (std::size_t t = 0; t < n_tokens; ++t)
        for (std::size_t i = 0; i < cols; ++i) sums[t] += x[t * cols + i];
    const Int8Activations activations{x.data(), sums.data(), scales.data(), cols};
    const TernaryTask task{{rows.data(), cols / 4, n_rows}, 1.0f, activations, n_tokens, cols, {dots.data(), n_rows}};
    const bool whole_groups = n_tokens % kLookupGroup == 0;
    if (panels) {
        Buffer<std::uint8_t> packed((n_rows + 15) / 16 * 4 * cols);
        k.pack_ternary_panels(task.rows, cols, packed.get());
        const TernaryPanelTask panel_task{packed.get(), n_rows, 1.0f, activations, n_tokens, cols, 0, task.out};
        if (k.panel_lookup_dot != nullptr && whole_groups)
            k.panel_lookup_dot(panel_task, Buffer<std::uint8_t>(kLookupScratch).get());
        else
            k.ternary_panel_dot(panel_task);
    } else if (k.lookup_dot != nullptr && whole_groups) {
        k.lookup_dot(task, Buffer<std::uint8_t>(kLookupScratch).get());
    } else {
        k.ternary_dot(task);
    }
    write_array(dots);
}

// Stores keys and values [positions, head_dim] in blocks, then attends with query tokens [n_tokens, group, head_dim] at
// the last positions. Attention runs over segments of `segment` positions, whose sums are merged, or over all positions
// at once (0).
void attention(const Kernels& k, KvType type, std::size_t group, std::size_t head_dim, std::size_t window,
               std::size_t segment) {
    const auto q = read_array<float>(), keys = read_array<float>(), values = read_array<float>();
    const auto blocks = read_array<std::int32_t>();
    const std::size_t stride = (head_dim + 15) / 16 * 16, bytes = kv_head_bytes(type, stride);
    const std::size_t positions = keys.size() / head_dim, n_tokens = q.size() / (group * head_dim);
    // Earlier owners of a block may have left anything in it, which must not be seen: NaN stands for that.
    std::vector<float> pool((*std::max_element(blocks.begin(), blocks.end()) + 1) * bytes / sizeof(float), NAN);
    auto* data = reinterpret_cast<std::uint8_t*>(pool.data());
    for (std::size_t p = 0; p < positions; ++p)
        k.store_kv(type, keys.data() + p * head_dim, values.data() + p * head_dim, head_dim, stride, p % kBlockSize,
                   data + static_cast<std::size_t>(blocks[p / kBlockSize]) * bytes);
    const std::size_t rows = n_tokens * group, row = group * head_dim;
    std::vector<float> out(q.size()), scratch(attention_scratch(rows, stride));
    std::vector<float> whole(attention_sums(rows, stride)), more(whole.size());
    const AttentionSums sums = attention_sums_at(whole.data(), rows, stride);
    AttentionTask task{.q = q.data(),
                       .q_stride = row,
                       .n_tokens = n_tokens,
                       .group = group,
                       .head_dim = head_dim,
                       .head_stride = stride,
                       .type = type,
                       .pool = data,
                       .blocks = blocks.data(),
                       .block_stride = bytes,
                       .position = positions - n_tokens,
                       .window = window,
                       .first = 0,
                       .last = positions,
                       .scale = 1.0f / std::sqrt(static_cast<float>(head_dim)),
                       .sums = sums,
                       .scratch = scratch.data()};
    for (; task.first < positions; task.first = task.last) {
        task.last = segment == 0 ? positions : std::min(positions, task.first + segment);
        if (task.first > 0) task.sums = attention_sums_at(more.data(), rows, stride);
        k.attention(task);
        if (task.first > 0) k.merge_attention(sums, task.sums, rows, stride);
    }
    for (std::size_t t = 0; t < n_tokens; ++t)
        k.finish_attention(sums, t * group, group, head_dim, stride, &out[t * row]);
    write_array(out);
}

void quantize(const Kernels& k) {
    const auto x = read_array<float>();
    std::vector<std::int8_t> codes(x.size());
    std::vector<float> scale(1);
    std::vector<std::int32_t> sum(1);
    k.quantize_int8(x.data(), x.size(), codes.data(), scale.data(), sum.data());
    write_array(codes);
    write_array(scale);
    write_array(sum);
}

void float_dot(const Kernels& k, Encoding encoding, std::size_t n_rows, std::size_t n_tokens, std::size_t cols) {
    const auto rows = read_array<std::uint8_t>();
    const auto x = read_array<float>();
    std::vector<float> out(n_rows * n_tokens);
    k.float_dot({encoding,
                 {rows.data(), rows.size() / n_rows, n_rows},
                 {x.data(), cols},
                 n_tokens,
                 cols,
                 {out.data(), n_rows}});
    write_array(out);
}

// Adds products of a [tokens, terms] and b, [terms, columns] or [columns, terms], to tiles c; writes the tiles, or
// nothing if the ISA has no such kernel.
void add_split_products(const Kernels& k, std::size_t tokens, std::size_t terms, std::size_t columns, bool by_columns) {
    const auto a = read_array<float>(), b = read_array<float>();
    auto c = read_array<float>();
    if (k.split == nullptr) return write_array(std::vector<float>());
    const std::size_t stride = terms / kSplitTerms * kSplitBlock;
    std::vector<std::uint16_t> blocks(tokens / kSplitTokens * stride);
    for (std::size_t t = 0; t < tokens; ++t)
        k.split(&a[t * terms], terms, &blocks[t / kSplitTokens * stride + t % kSplitTokens * kSplitTerms]);
    k.add_split_products(
        {blocks.data(), stride, b.data(), by_columns ? terms : columns, by_columns, c.data(), tokens, terms, columns});
    write_array(c);
}

// Quantises the activations and multiplies rows as they lie, or as panels; writes the halves of the activations, their
// scales, and the products.
void int15_dot(const Kernels& k, Encoding encoding, std::size_t n_rows, std::size_t n_tokens, std::size_t cols,
               bool panels) {
    const auto rows = read_array<std::uint8_t>();
    const auto x = read_array<float>();
    const Int15Vectors int15(k, x.data(), n_tokens, cols);
    std::vector<float> out(n_rows * n_tokens);
    const Rows stored{rows.data(), rows.size() / n_rows, n_rows};
    if (panels) {
        std::vector<std::uint8_t> packed((n_rows + 15) / 16 * k.panel_bytes(encoding, cols));
        k.pack_panels(encoding, stored, cols, packed.data());
        k.panel_dot({encoding, packed.data(), n_rows, int15.view(), n_tokens, cols, {out.data(), n_rows}});
    } else {
        k.int15_dot({encoding, stored, int15.view(), n_tokens, cols, {out.data(), n_rows}});
    }
    write_array(int15.high);
    write_array(int15.low);
    write_array(int15.scales);
    write_array(out);
}

// INT4 blocks times int8 activations [halves, n_tokens, cols], with a factor for each token and group.
void int4_dot(const Kernels& k, Encoding encoding, std::size_t n_rows, std::size_t n_tokens, std::size_t cols) {
    const auto blocks = read_array<std::uint8_t>();
    const auto x = read_array<std::int8_t>();
    const auto factors = read_array<float>();
    const std::size_t group = format_of(encoding).values, groups = cols / group, halves = x.size() / (n_tokens * cols);
    std::vector<float> sums(halves * n_tokens * groups), out(n_rows * n_tokens);
    for (std::size_t i = 0; i < x.size(); ++i) sums[i / group] += static_cast<float>(x[i]);
    Buffer<std::uint8_t> panels((n_rows + 15) / 16 * int4_panel_bytes(cols, group));
    k.pack_int4_panels({blocks.data(), blocks.size() / n_rows, n_rows}, cols, group, panels.get());
    Int4Task task{panels.get(), n_rows,         cols, group,    {{x.data(), sums.data()}, {}},
                  halves,       factors.data(), cols, n_tokens, {out.data(), n_rows}};
    if (halves == 2) task.x[1] = {x.data() + n_tokens * cols, sums.data() + n_tokens * groups};
    k.int4_dot(task);
    write_array(out);
}

// Rows of x [n_tokens, groups * group], scaled and rotated by tables as RotationTask has them; and their int8 codes,
// with a scale and a sum for every `scaled` columns.
void rotate(const Kernels& k, std::size_t rotations, std::size_t groups, std::size_t group, std::size_t scaled) {
    const auto x = read_array<float>(), scales = read_array<float>(), cos = read_array<float>(),
               sin = read_array<float>();
    const auto pairs = read_array<std::uint16_t>();
    const auto places = read_array<std::uint8_t>();
    const std::size_t width = groups * group, n_scales = x.size() / scaled;
    std::vector<float> out(x.size()), code_scales(n_scales);
    std::vector<std::int8_t> codes(x.size());
    std::vector<std::int32_t> sums(n_scales);
    const Int8Rows quantized{codes.data(), width, code_scales.data(), sums.data(), width / scaled, scaled};
    k.rotate({rotations, groups, group, 0, groups, scales.data(), cos.data(), sin.data(), pairs.data(), places.data(),
              x.data(), width, out.data(), width, x.size() / width, quantized});
    write_array(out);
    write_array(codes);
    write_array(code_scales);
    write_array(sums);
}

// In every phase each thread adds to another cell than before; the sums show whether a region or a phase was lost.
void pool(std::size_t threads, std::size_t regions) {
    std::vector<std::int32_t> sums(threads * 16);
    for (std::size_t region = 0; region < regions; ++region)
        ThreadPool::instance().run(threads, [&](std::size_t thread, Barrier& barrier) {
            for (std::size_t phase = 0; phase < 3; ++phase) {
                sums[(thread + phase) % threads * 16] += static_cast<std::int32_t>(phase + 1);
                barrier.wait(threads);
            }
        });
    write_array(sums);
}

// How a product with an I2_S matrix is divided, as it lies and repacked: items and chunk of each.
void division(const Kernels& k, std::size_t n_rows, std::size_t cols, std::size_t n_tokens, std::size_t threads) {
    const std::vector<std::uint8_t> codes(n_rows * cols / 4);
    Tensor tensor;
    tensor.encoding = Encoding::i2_s;
    tensor.shape = {n_rows, cols};
    tensor.bytes = codes;
    const auto matrix = make_linear(tensor, {Quantizer::int8}, k, "w");
    const auto repacked = matrix->repacked();
    std::vector<std::int32_t> numbers;
    for (const Linear* route : {matrix.get(), repacked.get()}) {
        const Division parts = route->division(n_tokens, threads);
        numbers.push_back(static_cast<std::int32_t>(parts.items));
        numbers.push_back(static_cast<std::int32_t>(parts.chunk));
    }
    write_array(numbers);
}

void run(const Kernels& k, const std::string& operation, const std::vector<std::size_t>& n) {
    if (operation == "known_answers") {
        write_array(std::vector<std::int32_t>{known_answers_hold(k)});
    } else if (operation == "ternary_dot" || operation == "ternary_panel_dot") {
        ternary_dot(k, n.at(0), n.at(1), n.at(2), operation == "ternary_panel_dot");
    } else if (operation == "decode") {
        const auto src = read_array<std::uint8_t>();
        std::vector<float> out(n.at(1));
        k.decode(kFormats[n.at(0)].encoding, src.data(), n.at(1), out.data());
        write_array(out);
    } else if (operation == "encode") {
        const auto x = read_array<float>();
        std::vector<std::uint8_t> out(n.at(1));
        if (!k.encode(kFormats[n.at(0)].encoding, x.data(), x.size(), out.data())) out.clear();
        write_array(out);
    } else if (operation == "float_dot") {
        float_dot(k, kFormats[n.at(0)].encoding, n.at(1), n.at(2), n.at(3));
    } else if (operation == "int15_dot" || operation == "panel_dot") {
        int15_dot(k, kFormats[n.at(0)].encoding, n.at(1), n.at(2), n.at(3), operation == "panel_dot");
    } else if (operation == "int4_dot") {
        int4_dot(k, kFormats[n.at(0)].encoding, n.at(1), n.at(2), n.at(3));
    } else if (operation == "rotate") {
        rotate(k, n.at(0), n.at(1), n.at(2), n.at(3));
    } else if (operation == "dot") {
        const auto a = read_array<float>(), b = read_array<float>();
        write_array(std::vector{k.dot(a.data(), b.data(), a.size())});
    } else if (operation == "add_products") {
        const auto a = read_array<float>(), b = read_array<float>();
        auto c = read_array<float>();
        k.add_products({a.data(), n.at(1), b.data(), n.at(2), c.data(), n.at(2), n.at(0), n.at(1), n.at(2)});
        write_array(c);
    } else if (operation == "add_split_products") {
        add_split_products(k, n.at(0), n.at(1), n.at(2), n.at(3) != 0);
    } else if (operation == "pack_transposed_panels") {
        const auto rows = read_array<std::uint8_t>();
        const std::size_t count = n.at(0), blocks = n.at(1), cols = padded(count);
        std::vector<std::uint8_t> panels(blocks * 32 * cols);
        for (std::size_t block = 0; block < blocks; ++block)
            k.pack_transposed_panels({rows.data(), 32 * blocks, count}, block, cols, &panels[block * 32 * cols]);
        write_array(panels);
    } else if (operation == "add_low_rank") {
        const auto panels = read_array<std::uint8_t>();
        const auto hidden = read_array<float>();
        auto out = read_array<float>();
        const std::size_t rank = n.at(1), columns = n.at(2);
        k.add_low_rank({kFormats[n.at(0)].encoding,
                        panels.data(),
                        rank,
                        columns,
                        {hidden.data(), rank},
                        hidden.size() / rank,
                        {out.data(), columns}});
        write_array(out);
    } else if (operation == "decays") {
        auto x = read_array<float>();
        k.decays(x.data(), x.size(), x.data());
        write_array(x);
    } else if (operation == "softmax_sums") {
        const auto x = read_array<float>();
        const SoftmaxSums sums = k.softmax_sums(x.data(), x.size());
        write_array(std::vector<float>{sums.largest});
        write_array(std::vector<double>{sums.total});
    } else if (operation == "rms_norm") {
        const auto x = read_array<float>(), weight = read_array<float>();
        std::vector<float> out(x.size());
        k.rms_norm(x.data(), weight.data(), 1e-5f, n.at(0), out.data());
        write_array(out);
    } else if (operation == "quantize") {
        quantize(k);
    } else if (operation == "gated") {
        const auto gate = read_array<float>(), up = read_array<float>();
        std::vector<float> out(gate.size());
        k.gated(static_cast<Activation>(n.at(0)), gate.data(), up.data(), gate.size(), out.data());
        write_array(out);
    } else if (operation == "rope") {
        auto head = read_array<float>();
        const auto cos = read_array<float>(), sin = read_array<float>();
        k.rope(static_cast<RopeStyle>(n.at(0)), cos.data(), sin.data(), cos.size(), head.data());
        write_array(head);
    } else if (operation == "to_f16") {
        const auto x = read_array<float>();
        std::vector<std::uint16_t> out(x.size());
        k.to_f16(x.data(), x.size(), out.data());
        write_array(out);
    } else if (operation == "attention") {
        attention(k, static_cast<KvType>(n.at(0)), n.at(1), n.at(2), n.at(3), n.at(4));
    } else if (operation == "random_rows") {
        write_array(std::vector<std::uint64_t>{
            compare_random_rows(k, n.at(0) != 0, n.at(1), static_cast<std::uint32_t>(n.at(2)))});
    } else if (operation == "ceilings") {
        const std::vector<std::uint8_t> data(4096 * 3);
        write_array(std::vector<std::uint64_t>{k.read_all(data.data(), 4096), k.multiply_add(1000)});
    } else if (operation == "pool") {
        pool(n.at(0), n.at(1));
    } else if (operation == "division") {
        division(k, n.at(0), n.at(1), n.at(2), n.at(3));
    } else {
        throw std::runtime_error("unknown operation " + operation);
    }
}

}  // namespace

int main(int argc, char** argv) {
    use_binary_streams();
    try {
        if (argc < 3) throw std::runtime_error("usage: sterna_probe ISA OPERATION [NUMBER ...]");
        std::vector<std::size_t> numbers;
        for (int i = 3; i < argc; ++i) numbers.push_back(std::stoul(argv[i]));
        run(kernels_for(argv[1]), argv[2], numbers);
    } catch (const std::exception& error) {
        std::cerr << error.what() << '\n';
        return 1;
    }
}

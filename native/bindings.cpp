// The Python bindings of the engine. They take and return arrays, and release the GIL while kernels run.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/map.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <stdexcept>

#include "engine/ceilings.hpp"
#include "engine/frozen_matrix.hpp"
#include "engine/model.hpp"
#include "engine/repack.hpp"
#include "engine/requantize.hpp"
#include "files/gguf_strings.hpp"
#include "kernels/dispatch.hpp"
#include "platform/system.hpp"

namespace nb = nanobind;
using namespace nb::literals;

namespace sterna {
namespace {

using Bytes = nb::ndarray<const std::uint8_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Indices = nb::ndarray<const std::int32_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Tables = nb::ndarray<const std::int32_t, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using Words = nb::ndarray<const std::uint32_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Floats = nb::ndarray<const float, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Rows = nb::ndarray<const float, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
template <class T>
using Result = nb::ndarray<nb::numpy, T, nb::c_contig>;

template <class T>
std::span<const T> view(const nb::ndarray<const T, nb::ndim<1>, nb::c_contig, nb::device::cpu>& array) {
    return {array.data(), array.size()};
}

// A new numpy array that owns its memory.
template <class T>
Result<T> make_result(std::initializer_list<std::size_t> shape) {
    std::size_t n = 1;
    for (const std::size_t s : shape) n *= s;
    T* data = new T[n];
    nb::capsule owner(data, [](void* p) noexcept { delete[] static_cast<T*>(p); });
    return Result<T>(data, shape, owner);
}

// Leaves out values that are None.
Operation to_operation(const nb::dict& fields) {
    Operation op;
    for (const auto& [key, value] : fields) {
        const auto name = nb::cast<std::string>(key);
        if (name == "kind")
            op.kind = nb::cast<std::string>(value);
        else if (nb::isinstance<nb::str>(value))
            op.names[name] = nb::cast<std::string>(value);
        else if (!value.is_none())
            op.numbers[name] = nb::cast<double>(value);
    }
    return op;
}

StateGroup to_state_group(const std::string& name, const nb::dict& fields) {
    const auto number = [&](const char* key) { return nb::cast<std::size_t>(fields[key]); };
    return {name,
            number("layers"),
            number("key_heads"),
            number("value_heads"),
            number("key_dim"),
            number("value_dim"),
            number("conv_width")};
}

// `Plan.to_dict()` of src/sterna/model/plan.py, version 1.
Plan to_plan(const nb::dict& fields) {
    if (nb::cast<int>(fields["version"]) != 1) throw std::invalid_argument("The plan has an unknown version.");
    Plan plan;
    plan.vocab_size = nb::cast<std::size_t>(fields["vocab_size"]);
    plan.head = to_operation(nb::cast<nb::dict>(fields["head"]));
    plan.head.kind = "head";
    plan.output = nb::cast<std::string>(fields["output"]);
    plan.slots = nb::cast<std::map<std::string, std::size_t>>(fields["slots"]);
    for (const auto& [name, value] : nb::cast<nb::dict>(fields["caches"])) {
        const auto group = nb::cast<nb::dict>(value);
        const nb::object window = group["window"];
        plan.caches.push_back({nb::cast<std::string>(name), nb::cast<std::size_t>(group["layers"]),
                               nb::cast<std::size_t>(group["kv_heads"]), nb::cast<std::size_t>(group["head_dim"]),
                               window.is_none() ? 0 : nb::cast<std::size_t>(window)});
    }
    for (const auto& [name, value] : nb::cast<nb::dict>(fields["states"])) {
        const auto group = nb::cast<nb::dict>(value);
        plan.states.push_back(to_state_group(nb::cast<std::string>(name), group));
    }
    plan.signs = nb::cast<std::map<std::string, std::vector<double>>>(fields["signs"]);
    plan.frequencies = nb::cast<std::map<std::string, std::vector<double>>>(fields["frequencies"]);
    for (const nb::handle op : nb::cast<nb::list>(fields["operations"]))
        plan.operations.push_back(to_operation(nb::cast<nb::dict>(op)));
    return plan;
}

// (encoding, shape, uint8 vector, scale, group scales, read once); `bytes` and `scales` keep the vectors alive.
Tensor to_tensor(const nb::tuple& fields, Bytes& bytes, Floats& scales) {
    bytes = nb::cast<Bytes>(fields[2], false);  // false: no conversion, which would copy
    scales = nb::cast<Floats>(fields[4], false);
    return {.encoding = encoding_named(nb::cast<std::string>(fields[0])),
            .shape = nb::cast<std::vector<std::size_t>>(fields[1]),
            .bytes = view(bytes),
            .scale = nb::cast<float>(fields[3]),
            .group_scales = view(scales),
            .read_once = nb::cast<bool>(fields[5])};
}

std::size_t at_least_one(std::size_t threads) {
    return std::clamp<std::size_t>(threads, 1, 1024);
}

// (tokens, log-probabilities, lists of (id, log-probability) of the most likely tokens), one entry for each choice.
nb::tuple in_columns(const std::vector<Choice>& choices) {
    auto tokens = make_result<std::int32_t>({choices.size()});
    auto logprobs = make_result<float>({choices.size()});
    nb::list top;
    for (std::size_t i = 0; i < choices.size(); ++i) {
        tokens.data()[i] = choices[i].token;
        logprobs.data()[i] = choices[i].logprob;
        top.append(nb::cast(choices[i].top));
    }
    return nb::make_tuple(tokens, logprobs, top);
}

// The token chosen from each row of logits that another engine has computed, as `in_columns` has it.
nb::tuple chosen(Rows logits, const std::vector<Sampling>& samplings) {
    if (logits.shape(0) != samplings.size())
        throw std::invalid_argument("There must be one sampling for each row of logits.");
    if (logits.shape(1) == 0) throw std::invalid_argument("Rows of logits must not be empty.");
    std::vector<Choice> choices;
    {
        const nb::gil_scoped_release release;
        const std::size_t width = logits.shape(1);
        std::vector<float> row(width);
        for (std::size_t i = 0; i < samplings.size(); ++i) {
            std::copy_n(logits.data() + i * width, width, row.begin());
            choices.push_back(choose(row, samplings[i]));
        }
    }
    return in_columns(choices);
}

// Keeps the arrays alive that the model reads its weights from.
class PyModel {
public:
    PyModel(const nb::dict& plan, const nb::dict& tensors, const std::string& isa, std::size_t threads, bool in_place,
            double settle_s)
        : model_(load(to_plan(plan), to_tensors(tensors), kernels_for(isa), at_least_one(threads), in_place,
                      std::chrono::duration<double>(settle_s))) {
        forget_unread();
    }

    void settle(std::size_t threads) {
        {
            const nb::gil_scoped_release release;
            model_.settle(at_least_one(threads));
        }
        forget_unread();
    }

    Result<float> forward(Indices tokens, Indices positions, Indices cu_seqlens,
                          const std::vector<Tables>& block_tables, const std::vector<Tables>& state_tables,
                          Indices adapter_ids, const std::vector<Mix>& mixes, Indices output_rows,
                          const std::vector<const KvPool*>& pools, const std::vector<StatePool*>& states,
                          std::size_t threads, Profile* profile) {
        Batch batch{.tokens = view(tokens),
                    .positions = view(positions),
                    .cu_seqlens = view(cu_seqlens),
                    .block_tables = {},
                    .state_tables = {},
                    .adapter_ids = view(adapter_ids),
                    .mixes = mixes,
                    .output_rows = view(output_rows),
                    .sequence_of = {},
                    .stretches = {}};
        for (const Tables& table : block_tables)
            batch.block_tables.push_back({{table.data(), table.size()}, table.shape(1)});
        for (const Tables& table : state_tables)
            batch.state_tables.push_back({{table.data(), table.size()}, table.shape(1)});
        if (std::count(pools.begin(), pools.end(), nullptr) + std::count(states.begin(), states.end(), nullptr) > 0)
            throw std::invalid_argument("A pool is None.");
        auto hidden = make_result<float>({output_rows.size(), model_.hidden_size()});
        const bool settled = model_.settled();
        {
            const nb::gil_scoped_release release;
            model_.forward(batch, pools, states, at_least_one(threads), hidden.data(), profile);
        }
        if (model_.settled() && !settled) forget_unread();
        return hidden;
    }

    Adapter adapter(const nb::dict& updates) const {
        std::map<std::string, Update> natives;
        std::vector<Rows> matrices;  // kept alive
        for (const auto& [key, value] : updates) {
            const auto fields = nb::cast<nb::tuple>(value);
            const auto a = nb::cast<Rows>(fields[0], false), b = nb::cast<Rows>(fields[1], false);
            matrices.insert(matrices.end(), {a, b});
            if (a.shape(0) != b.shape(1)) throw std::invalid_argument("The matrices of an update differ in rank.");
            natives[nb::cast<std::string>(key)] = {
                {a.data(), a.size()}, {b.data(), b.size()}, a.shape(0), nb::cast<float>(fields[2])};
        }
        const nb::gil_scoped_release release;
        return model_.adapter(natives);
    }

    Result<float> logits(Rows hidden, Indices adapter_ids, const std::vector<Mix>& mixes, std::size_t threads,
                         Profile* profile) {
        check_width(hidden);
        auto out = make_result<float>({hidden.shape(0), model_.vocab_size()});
        const nb::gil_scoped_release release;
        model_.logits({{hidden.data(), hidden.size()}, view(adapter_ids), mixes}, at_least_one(threads), out.data(),
                      profile);
        return out;
    }

    // As `in_columns` has it, one entry per row.
    nb::tuple select(Rows hidden, const std::vector<Sampling>& samplings, Indices adapter_ids,
                     const std::vector<Mix>& mixes, std::size_t threads, Profile* profile) {
        check_width(hidden);
        std::vector<Choice> choices;
        {
            const nb::gil_scoped_release release;
            choices = model_.select({{hidden.data(), hidden.size()}, view(adapter_ids), mixes}, samplings,
                                    at_least_one(threads), profile);
        }
        return in_columns(choices);
    }

    // [n, 2]: log-probability and whether it is the most likely id (1 or 0), one row for each hidden row.
    Result<float> score(Rows hidden, Indices ids, Indices adapter_ids, const std::vector<Mix>& mixes,
                        std::size_t threads, Profile* profile) {
        check_width(hidden);
        auto out = make_result<float>({ids.size(), 2});
        const nb::gil_scoped_release release;
        const auto scores = model_.score({{hidden.data(), hidden.size()}, view(adapter_ids), mixes}, view(ids),
                                         at_least_one(threads), profile);
        for (std::size_t i = 0; i < scores.size(); ++i) {
            out.data()[2 * i] = scores[i].logprob;
            out.data()[2 * i + 1] = scores[i].greedy;
        }
        return out;
    }

    bool settled() const { return model_.settled(); }
    std::size_t hidden_size() const { return model_.hidden_size(); }
    std::size_t vocab_size() const { return model_.vocab_size(); }

private:
    void check_width(const Rows& hidden) const {
        if (hidden.shape(1) != model_.hidden_size())
            throw std::invalid_argument("Hidden rows must be hidden_size wide.");
    }

    // Lets go of the arrays that were copied or repacked.
    void forget_unread() {
        std::erase_if(weights_, [&](const Bytes& bytes) { return !model_.reads(bytes.data()); });
    }

    static Model load(const Plan& plan, const Tensors& tensors, const Kernels& kernels, std::size_t threads,
                      bool in_place, std::chrono::duration<double> settling) {
        const nb::gil_scoped_release release;
        return Model(plan, tensors, kernels, threads, in_place,
                     std::chrono::duration_cast<Settling::Clock::duration>(settling));
    }

    Tensors to_tensors(const nb::dict& tensors) {
        Tensors natives;
        for (const auto& [key, value] : tensors)
            natives[nb::cast<std::string>(key)] =
                to_tensor(nb::cast<nb::tuple>(value), weights_.emplace_back(), group_scales_.emplace_back());
        return natives;
    }

    std::vector<Bytes> weights_;
    std::vector<Floats> group_scales_;
    Model model_;
};

// Keeps the arrays alive that the matrix is read from.
class PyMatrix {
public:
    PyMatrix(const nb::tuple& tensor, const std::string& activations, std::size_t group_size, const std::string& isa)
        : matrix_(to_tensor(tensor, bytes_, scales_), to_form(activations, group_size), kernels_for(isa), "matrix") {}

    Result<float> multiply(Rows x, std::size_t threads) const {
        return product(x, matrix_.in_features(), matrix_.out_features(),
                       [&](float* out) { matrix_.multiply(x.data(), x.shape(0), at_least_one(threads), out); });
    }

    Result<float> multiply_transposed(Rows g, std::size_t threads) const {
        return product(g, matrix_.out_features(), matrix_.in_features(), [&](float* out) {
            matrix_.multiply_transposed(g.data(), g.shape(0), at_least_one(threads), out);
        });
    }

    // (products, hidden rows), or None where there is no such kernel.
    nb::object multiply_adapted(Rows x, Rows a, Rows b, float scale, std::size_t threads) const {
        if (!matrix_.adapts(x.shape(0))) return nb::none();
        return adapted(x, matrix_.in_features(), matrix_.out_features(), a, b, scale,
                       [&](const LowRankUpdate& update, float* out) {
                           matrix_.multiply_adapted(update, x.data(), x.shape(0), at_least_one(threads), out);
                       });
    }

    nb::object multiply_adapted_transposed(Rows g, Rows a, Rows b, float scale, std::size_t threads) const {
        if (!matrix_.adapts_transposed(g.shape(0))) return nb::none();
        return adapted(g, matrix_.out_features(), matrix_.in_features(), a, b, scale,
                       [&](const LowRankUpdate& update, float* out) {
                           matrix_.multiply_adapted_transposed(update, g.data(), g.shape(0), at_least_one(threads),
                                                               out);
                       });
    }

    Result<float> rows(Indices ids) const {
        const std::size_t width = matrix_.in_features();
        auto out = make_result<float>({ids.size(), width});
        for (std::size_t i = 0; i < ids.size(); ++i) {
            const auto row = static_cast<std::size_t>(ids.data()[i]);
            if (row >= matrix_.out_features()) throw std::invalid_argument("The matrix has no such row.");
            matrix_.row(row, out.data() + i * width);
        }
        return out;
    }

private:
    static ActivationForm to_form(const std::string& activations, std::size_t group_size) {
        Operation op{"matrix", {{"activations", activations}}, {{"group_size", static_cast<double>(group_size)}}};
        return op.activations();
    }

    static Result<float> product(const Rows& rows, std::size_t width, std::size_t columns, const auto& compute) {
        if (rows.shape(1) != width)
            throw std::invalid_argument("Rows must be " + std::to_string(width) + " values wide.");
        auto out = make_result<float>({rows.shape(0), columns});
        const nb::gil_scoped_release release;
        if (rows.shape(0) > 0) compute(out.data());
        return out;
    }

    nb::object adapted(const Rows& rows, std::size_t width, std::size_t columns, const Rows& a, const Rows& b,
                       float scale, const auto& compute) const {
        if (a.shape(1) != matrix_.in_features() || b.shape(0) != matrix_.out_features() || a.shape(0) != b.shape(1))
            throw std::invalid_argument("An update must fit its matrix.");
        auto hidden = make_result<float>({rows.shape(0), a.shape(0)});
        const LowRankUpdate update{a.data(), b.data(), a.shape(0), scale, hidden.data()};
        auto out = product(rows, width, columns, [&](float* to) { compute(update, to); });
        return nb::make_tuple(out, hidden);
    }

    Bytes bytes_;
    Floats scales_;
    FrozenMatrix matrix_;
};

Result<std::uint8_t> requantized(const nb::tuple& tensor, const std::string& encoding, const std::string& isa,
                                 std::size_t threads) {
    Bytes bytes;
    Floats scales;
    const Tensor source = to_tensor(tensor, bytes, scales);
    if (source.shape.size() != 2) throw std::invalid_argument("Only matrices can be requantised.");
    const Encoding target = encoding_named(encoding);
    std::size_t size = 0;
    if (__builtin_mul_overflow(source.shape[0], row_bytes(target, source.shape[1]), &size))
        throw std::invalid_argument("The matrix is too large.");
    auto out = make_result<std::uint8_t>({size});
    const nb::gil_scoped_release release;
    requantize(kernels_for(isa), source, target, at_least_one(threads), {out.data(), size});
    return out;
}

std::vector<bool> code_3_in(const std::vector<Bytes>& tensors) {
    const nb::gil_scoped_release release;
    std::vector<bool> found;
    for (const Bytes& codes : tensors) found.push_back(i2s_has_code_3(view(codes)));
    return found;
}

// Bytes that are not UTF-8 become U+FFFD.
nb::list gguf_strings(Bytes file, std::size_t position, std::size_t count) {
    nb::list strings;
    for (; count > 0; --count) {
        const auto bytes = next_gguf_string(view(file), position);
        PyObject* string = PyUnicode_DecodeUTF8(reinterpret_cast<const char*>(bytes.data()),
                                                static_cast<Py_ssize_t>(bytes.size()), "replace");
        if (string == nullptr) throw nb::python_error();
        strings.append(nb::steal(string));
    }
    return strings;
}

nb::tuple gguf_string_index(Bytes file, std::size_t position, std::size_t count, std::size_t stride) {
    const std::vector<std::uint64_t> found = gguf_string_starts(view(file), position, count, stride);
    auto starts = make_result<std::uint64_t>({found.size()});
    std::copy(found.begin(), found.end(), starts.data());
    return nb::make_tuple(starts, position);
}

// The I2_S codes and the scales of TQ1_0 or TQ2_0 blocks.
nb::tuple repack_tq(Bytes blocks, const std::string& encoding) {
    const std::size_t bytes = blocks.size() / tq_block_bytes(encoding) * (kTqBlock / 4);
    auto codes = make_result<std::uint8_t>({bytes});
    std::vector<float> found;
    {
        const nb::gil_scoped_release release;
        found = tq_to_i2s(encoding, view(blocks), codes.data());
    }
    auto scales = make_result<float>({found.size()});
    std::copy(found.begin(), found.end(), scales.data());
    return nb::make_tuple(codes, scales);
}

}  // namespace
}  // namespace sterna

NB_MODULE(_native, m) {
    // Daemon threads that still generate at exit keep their models alive. nanobind would warn of a leak that users
    // cannot fix.
    nb::set_leak_warnings(false);
    using namespace sterna;
    m.doc() = "Sterna's native engine.";
    m.attr("BLOCK_SIZE") = kBlockSize;

    m.def("performance_cores", performance_cores,
          "Processors of the fastest kind, where the system tells kinds apart; 0 where it does not.");
    m.def("processor_name", processor_name, "The processor's name; empty on Linux, where files of the system tell it.");
    m.def("available_memory", available_memory,
          "Bytes that can be taken without swapping; 0 on Linux, where files of the system tell it.");
    m.def("peak_memory", peak_memory,
          "The most bytes of memory that this process has had; 0 on Linux, where files of the system tell it.");
    m.def(
        "available_isas",
        [] {
            std::vector<std::string> names;
            for (const Kernels* k : available_kernels()) names.emplace_back(k->isa);
            return names;
        },
        "Instruction sets that this build holds and this processor can run, best first.");
    m.def(
        "known_answers_hold", [](const std::string& isa) { return known_answers_hold(kernels_for(isa)); }, "isa"_a,
        "True where the kernels of `isa` give scalar's answers, to the bit, on fixed inputs.");
    m.def(
        "formats",
        [] {
            constexpr const char* kActivations[] = {"none", "int8", "int15"};
            nb::list rows;
            for (const Format& format : kFormats)
                rows.append(nb::make_tuple(format.name, format.values, format.bytes,
                                           kActivations[static_cast<std::size_t>(format.activations)]));
            return rows;
        },
        "The encodings that the kernels know: name, values and bytes of a block, activations.");
    m.def("requantize", &requantized, "tensor"_a, "encoding"_a, "isa"_a, "threads"_a);
    m.def("gguf_strings", &gguf_strings, "file"_a, "position"_a, "count"_a,
          "Strings of a GGUF header; ValueError where one does not fit the file.");
    m.def("gguf_string_index", &gguf_string_index, "file"_a, "position"_a, "count"_a, "stride"_a,
          "Where every stride-th string begins, and the position behind the last; ValueError as gguf_strings.");
    m.def("i2s_has_code_3", &code_3_in, "tensors"_a,
          "For each vector of I2_S codes, whether it holds the meaningless code 3.");
    m.def("tq_to_i2s", &repack_tq, "blocks"_a, "encoding"_a);

    m.def(
        "read_bandwidth",
        [](const std::string& isa, std::size_t bytes, std::size_t threads) {
            const Kernels& kernels = kernels_for(isa);
            const nb::gil_scoped_release release;
            return read_bandwidth(kernels, bytes, at_least_one(threads));
        },
        "isa"_a, "bytes"_a, "threads"_a);
    m.def(
        "multiply_add_rate",
        [](const std::string& isa, std::size_t threads) {
            const Kernels& kernels = kernels_for(isa);
            const nb::gil_scoped_release release;
            return multiply_add_rate(kernels, at_least_one(threads));
        },
        "isa"_a, "threads"_a);
    m.def("line_latency", &line_latency, nb::call_guard<nb::gil_scoped_release>());

    nb::class_<Profile>(m, "Profile")
        .def(nb::init<>())
        .def_ro("matrix_bytes", &Profile::matrix_bytes)
        .def_ro("head_bytes", &Profile::head_bytes)
        .def_ro("multiply_adds", &Profile::multiply_adds)
        .def_prop_ro("passes", [](const Profile& self) {
            nb::list passes;
            for (const PassTimes& pass : self.passes)
                passes.append(nb::make_tuple(pass.tokens, pass.sequences, pass.seconds));
            return passes;
        });

    nb::class_<Sampling>(m, "Sampling")
        .def(nb::init<>())
        .def_rw("temperature", &Sampling::temperature)
        .def_rw("top_k", &Sampling::top_k)
        .def_rw("top_p", &Sampling::top_p)
        .def_rw("min_p", &Sampling::min_p)
        .def_rw("repetition_penalty", &Sampling::repetition_penalty)
        .def_rw("presence_penalty", &Sampling::presence_penalty)
        .def_rw("frequency_penalty", &Sampling::frequency_penalty)
        .def_rw("seed", &Sampling::seed)
        .def_rw("step", &Sampling::step)
        .def_rw("seen", &Sampling::seen)
        .def_rw("generated", &Sampling::generated)
        .def_rw("logit_bias", &Sampling::logit_bias)
        .def_rw("banned", &Sampling::banned)
        .def_rw("logprobs", &Sampling::logprobs)
        .def("set_mask", [](Sampling& self, Words mask) { self.mask.assign(mask.data(), mask.data() + mask.size()); });

    nb::class_<KvPool>(m, "KvPool")
        .def(
            "__init__",
            [](KvPool* self, std::size_t layers, std::size_t kv_heads, std::size_t head_dim, std::size_t blocks,
               const std::string& type) {
                const std::map<std::string, KvType> types = {
                    {"f16", KvType::f16}, {"int8", KvType::int8}, {"f32", KvType::f32}};
                const auto found = types.find(type);
                if (found == types.end()) throw std::invalid_argument("The KV type is f16, int8 or f32.");
                new (self) KvPool(layers, kv_heads, head_dim, blocks, found->second);
            },
            "layers"_a, "kv_heads"_a, "head_dim"_a, "blocks"_a, "type"_a)
        .def_prop_ro("blocks", &KvPool::blocks)
        .def_prop_ro("block_bytes", &KvPool::block_bytes)
        .def("copy", &KvPool::copy, "source"_a, "target"_a, nb::call_guard<nb::gil_scoped_release>());

    nb::class_<StatePool>(m, "StatePool")
        .def(
            "__init__",
            [](StatePool* self, const nb::dict& shape, std::size_t slots) {
                new (self) StatePool(to_state_group("", shape), slots);
            },
            "shape"_a, "slots"_a)
        .def_prop_ro("slots", &StatePool::slots)
        .def_prop_ro("slot_bytes", &StatePool::slot_bytes);

    m.def("choose", &chosen, "logits"_a, "samplings"_a);

    nb::class_<Adapter>(m, "Adapter");

    nb::class_<PyMatrix>(m, "Matrix")
        .def(nb::init<const nb::tuple&, const std::string&, std::size_t, const std::string&>(), "tensor"_a,
             "activations"_a, "group_size"_a, "isa"_a)
        .def("multiply", &PyMatrix::multiply, "x"_a, "threads"_a)
        .def("multiply_transposed", &PyMatrix::multiply_transposed, "g"_a, "threads"_a)
        .def("multiply_adapted", &PyMatrix::multiply_adapted, "x"_a, "a"_a, "b"_a, "scale"_a, "threads"_a)
        .def("multiply_adapted_transposed", &PyMatrix::multiply_adapted_transposed, "g"_a, "a"_a, "b"_a, "scale"_a,
             "threads"_a)
        .def("rows", &PyMatrix::rows, "ids"_a);

    nb::class_<PyModel>(m, "Model")
        .def(nb::init<const nb::dict&, const nb::dict&, const std::string&, std::size_t, bool, double>(), "plan"_a,
             "tensors"_a, "isa"_a, "threads"_a, "in_place"_a, "settle_s"_a = 0.0)
        .def("forward", &PyModel::forward, "tokens"_a, "positions"_a, "cu_seqlens"_a, "block_tables"_a,
             "state_tables"_a, "adapter_ids"_a, "mixes"_a, "output_rows"_a, "pools"_a, "states"_a, "threads"_a,
             "profile"_a.none() = nb::none())
        .def("adapter", &PyModel::adapter, "updates"_a)
        .def("settle", &PyModel::settle, "threads"_a)
        .def_prop_ro("settled", &PyModel::settled)
        .def("logits", &PyModel::logits, "hidden"_a, "adapter_ids"_a, "mixes"_a, "threads"_a,
             "profile"_a.none() = nb::none())
        .def("select", &PyModel::select, "hidden"_a, "samplings"_a, "adapter_ids"_a, "mixes"_a, "threads"_a,
             "profile"_a.none() = nb::none())
        .def("score", &PyModel::score, "hidden"_a, "ids"_a, "adapter_ids"_a, "mixes"_a, "threads"_a,
             "profile"_a.none() = nb::none())
        .def_prop_ro("hidden_size", &PyModel::hidden_size)
        .def_prop_ro("vocab_size", &PyModel::vocab_size);
}

// Models, made from a plan and its tensors, and the memory of their sequences.
#include "../engine/model.hpp"

#include <nanobind/stl/map.h>
#include <nanobind/stl/pair.h>

#include <algorithm>
#include <chrono>
#include <stdexcept>

#include "../kernels/dispatch.hpp"
#include "choices.hpp"
#include "module.hpp"

namespace sterna {
namespace {

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
        std::vector<FloatRows> matrices;  // kept alive
        for (const auto& [key, value] : updates) {
            const auto fields = nb::cast<nb::tuple>(value);
            const auto a = nb::cast<FloatRows>(fields[0], false), b = nb::cast<FloatRows>(fields[1], false);
            matrices.insert(matrices.end(), {a, b});
            if (a.shape(0) != b.shape(1)) throw std::invalid_argument("The matrices of an update differ in rank.");
            natives[nb::cast<std::string>(key)] = {
                {a.data(), a.size()}, {b.data(), b.size()}, a.shape(0), nb::cast<float>(fields[2])};
        }
        const nb::gil_scoped_release release;
        return model_.adapter(natives);
    }

    Result<float> logits(FloatRows hidden, Indices adapter_ids, const std::vector<Mix>& mixes, std::size_t threads,
                         Profile* profile) {
        check_width(hidden);
        auto out = make_result<float>({hidden.shape(0), model_.vocab_size()});
        const nb::gil_scoped_release release;
        model_.logits({{hidden.data(), hidden.size()}, view(adapter_ids), mixes}, at_least_one(threads), out.data(),
                      profile);
        return out;
    }

    // As `in_columns` has it, one entry per row.
    nb::tuple select(FloatRows hidden, const std::vector<Sampling>& samplings, Indices adapter_ids,
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
    Result<float> score(FloatRows hidden, Indices ids, Indices adapter_ids, const std::vector<Mix>& mixes,
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
    void check_width(const FloatRows& hidden) const {
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

}  // namespace

void bind_model(nb::module_& m) {
    m.attr("BLOCK_SIZE") = kBlockSize;

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

    nb::class_<Adapter>(m, "Adapter");

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

}  // namespace sterna

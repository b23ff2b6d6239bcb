#include "compile.hpp"

#include <algorithm>
#include <numeric>
#include <stdexcept>
#include <utility>

#include "attention_steps.hpp"
#include "delta_steps.hpp"
#include "rotation.hpp"
#include "step_list.hpp"
#include "token_steps.hpp"

namespace sterna {
namespace {

class Compiler {
public:
    Compiler(const Plan& plan, const Tensors& tensors, const Kernels& kernels, std::vector<Slot>& slots)
        : plan_(plan), tensors_(tensors), kernels_(kernels), slots_(slots) {}

    CompiledPlan compile() {
        for (const auto& [name, width] : plan_.slots) add_slot(name, width);
        for (const auto& [name, frequencies] : plan_.frequencies) {
            require(!frequencies.empty(), "a list of rotary frequencies is empty");
            steps_.add(std::make_unique<Angles>(frequencies, add_slot("angles of " + name, 2 * frequencies.size())),
                       "rope");
        }
        for (const Operation& op : plan_.operations)
            if (op.kind == "linear") slots_[slot(op, "x")].require(op.activations());
        for (const Operation& op : plan_.operations) {
            const auto emitter = kEmitters.find(op.kind);
            if (emitter == kEmitters.end())
                throw std::invalid_argument("The engine does not know the operation '" + op.kind + "'.");
            kind_ = op.kind;
            (this->*emitter->second)(op);
        }
        CompiledPlan compiled = steps_.finish();
        compiled.groups = std::move(groups_);
        return compiled;
    }

private:
    using Emitter = void (Compiler::*)(const Operation&);
    static const std::map<std::string, Emitter> kEmitters;
    static constexpr std::size_t kMaxWidth = std::size_t{1} << 24, kMaxParts = std::size_t{1} << 12, kMaxRotations = 64;

    void require(bool good, const std::string& what) const {
        if (!good) throw std::invalid_argument("The operation '" + kind_ + "' of the plan is malformed: " + what + ".");
    }

    std::size_t add_slot(const std::string& name, std::size_t width) {
        require(width > 0 && width <= kMaxWidth, "the width of '" + name + "' is out of range");
        slots_.emplace_back(name, width);
        return slots_.size() - 1;
    }

    std::size_t slot(const std::string& name) const {
        for (std::size_t i = 0; i < slots_.size(); ++i)
            if (slots_[i].name == name) return i;
        throw std::invalid_argument("The plan names an unknown slot '" + name + "'.");
    }

    std::size_t slot(const Operation& op, const std::string& key) const { return slot(op.name(key)); }
    std::size_t width(std::size_t index) const { return slots_[index].width; }

    const Tensor& tensor(const std::string& name) const {
        const auto found = tensors_.find(name);
        if (found == tensors_.end()) throw std::invalid_argument("The plan names an unknown tensor '" + name + "'.");
        return found->second;
    }

    std::unique_ptr<Linear> matrix(const std::string& name, const ActivationForm& form) const {
        return make_linear(tensor(name), form, kernels_, name);
    }

    void emit(std::unique_ptr<Step> step) { steps_.add(std::move(step), kind_); }

    void embed(const Operation& op) {
        std::unique_ptr<Linear> weight = matrix(op.name("weight"), {});
        const std::size_t out = slot(op, "out");
        require(weight->in_features() == width(out), "the embedding and its slot differ in width");
        require(weight->out_features() >= plan_.vocab_size, "the embedding has fewer rows than the vocabulary");
        emit(std::make_unique<Embed>(std::move(weight), out));
    }

    void norm(const Operation& op) {
        const std::size_t x = slot(op, "x"), out = slot(op, "out");
        require(width(x) == width(out), "input and output differ in width");
        const double eps = op.number("eps");
        require(eps >= 0, "eps is negative");
        const std::size_t heads = op.size("heads", kMaxWidth);
        require(heads > 0 && width(x) % heads == 0, "heads and width do not fit");
        require(heads == 1 || width(x) / heads <= kMaxHeadDim, "its heads are too wide");
        const std::string& name = op.name("weight");
        std::vector<float> weight = padded_vector(tensor(name), width(x) / heads, name);
        if (heads == 1)
            emit(std::make_unique<Norm>(std::move(weight), static_cast<float>(eps), x, out));
        else
            emit(std::make_unique<HeadNorm>(std::move(weight), static_cast<float>(eps), heads, x, out));
    }

    void standardize(const Operation& op) {
        const std::size_t x = slot(op, "x"), out = slot(op, "out");
        require(width(x) == width(out), "input and output differ in width");
        const double eps = op.number("eps");
        require(eps > 0, "eps is not positive");
        emit(std::make_unique<Standardize>(eps, x, out));
    }

    void linear(const Operation& op) {
        const std::size_t x = slot(op, "x"), out = slot(op, "out");
        std::unique_ptr<Linear> weight = matrix(op.name("weight"), op.activations());
        require(x != out && weight->in_features() == width(x) && weight->out_features() == width(out),
                "the matrix '" + op.name("weight") + "' and its slots differ in width");
        steps_.add_matrix(op.name("weight"), std::move(weight), x, out);
        const auto bias = op.names.find("bias");
        if (bias == op.names.end()) return;
        steps_.add(std::make_unique<AddBias>(padded_vector(tensor(bias->second), width(out), bias->second), out),
                   "bias");
    }

    void gated(const Operation& op) {
        const std::size_t gate = slot(op, "gate"), up = slot(op, "up"), out = slot(op, "out");
        require(width(gate) == width(up) && width(gate) == width(out), "its slots differ in width");
        static const std::map<std::string, Activation> kActivations = {{"relu2", Activation::relu2},
                                                                       {"silu", Activation::silu},
                                                                       {"sigmoid", Activation::sigmoid},
                                                                       {"gelu", Activation::gelu}};
        const std::string& name = op.name("activation");
        const auto activation = kActivations.find(name);
        require(activation != kActivations.end(), "the activation '" + name + "' is unknown");
        emit(std::make_unique<Gated>(activation->second, gate, up, out));
    }

    void add(const Operation& op) {
        const std::size_t x = slot(op, "x"), y = slot(op, "y"), out = slot(op, "out");
        require(width(x) == width(y) && width(x) == width(out), "its slots differ in width");
        emit(std::make_unique<Add>(x, y, out));
    }

    void scale(const Operation& op) {
        const std::size_t x = slot(op, "x"), out = slot(op, "out");
        require(width(x) == width(out), "input and output differ in width");
        emit(std::make_unique<Scale>(static_cast<float>(op.number("factor")), x, out));
    }

    void rope(const Operation& op) {
        const std::size_t x = slot(op, "x"), out = slot(op, "out");
        const std::size_t angles = slot("angles of " + op.name("frequencies"));
        const std::size_t heads = op.size("heads", kMaxWidth), half = width(angles) / 2;
        require(width(x) == width(out), "input and output differ in width");
        require(heads > 0 && width(x) % heads == 0 && 2 * half <= width(x) / heads, "heads and dimensions do not fit");
        const std::string& style = op.name("style");
        require(style == "half" || style == "interleaved", "the style '" + style + "' is unknown");
        emit(std::make_unique<Rope>(style == "half" ? RopeStyle::half : RopeStyle::interleaved, angles, half, heads, x,
                                    out));
    }

    void hadamard(const Operation& op) {
        const std::size_t x = slot(op, "x"), out = slot(op, "out"), block = op.size("block", kMaxWidth);
        require(width(x) == width(out), "input and output differ in width");
        require(block > 0 && (block & (block - 1)) == 0 && width(x) % block == 0, "blocks and width do not fit");
        const std::string& direction = op.name("direction");
        require(direction == "forward" || direction == "inverse", "the direction '" + direction + "' is unknown");
        std::vector<float> signs(width(x), 1.0f);
        if (const auto name = op.names.find("signs"); name != op.names.end()) {
            const auto found = plan_.signs.find(name->second);
            require(found != plan_.signs.end() && found->second.size() == width(x), "its signs do not fit");
            for (std::size_t k = 0; k < signs.size(); ++k) signs[k] = found->second[k] < 0 ? -1.0f : 1.0f;
        }
        emit(std::make_unique<Hadamard>(std::move(signs), block, direction == "forward", x, out));
    }

    // Whether an operation reads the floats of a slot, and not only their quantised copies.
    bool reads_values(const std::string& slot) const {
        return std::any_of(plan_.operations.begin(), plan_.operations.end(), [&](const Operation& op) {
            if (op.kind == "linear" && op.activations().quantizer != Quantizer::none) return false;
            return std::any_of(op.names.begin(), op.names.end(),
                               [&](const auto& name) { return name.first != "out" && name.second == slot; });
        });
    }

    void rotate(const Operation& op) {
        const std::size_t x = slot(op, "x"), out = slot(op, "out");
        require(width(x) == width(out), "input and output differ in width");
        const auto numbers = [&](const std::string& key, std::size_t columns) {
            const std::unique_ptr<Linear> rows = matrix(op.name(key), {});
            require(rows->in_features() == columns && rows->out_features() <= kMaxRotations, "its tensors do not fit");
            std::vector<float> values(rows->out_features() * columns), row(padded(columns));
            for (std::size_t r = 0; r < rows->out_features(); ++r) {
                rows->row(r, row.data());
                std::copy_n(row.begin(), columns, values.begin() + static_cast<std::ptrdiff_t>(r * columns));
            }
            return values;
        };
        std::vector<float> scales = padded_vector(tensor(op.name("scales")), width(x), op.name("scales"));
        scales.resize(width(x));
        const bool rotates = op.names.contains("pairs");
        const std::vector<float> angles = rotates ? numbers("angles", width(x) / 2) : std::vector<float>{};
        const std::vector<float> pairs = rotates ? numbers("pairs", width(x)) : std::vector<float>{};
        require(pairs.size() == 2 * angles.size(), "its angles and pairs differ in number");
        const bool keeps_values = op.name("out") == plan_.output || reads_values(op.name("out"));
        auto step = std::make_unique<Rotate>(std::move(scales), angles, pairs, x, out, slots_[out], keeps_values);
        if (step->quantizes())
            steps_.add_quantizing(std::move(step), kind_);
        else
            emit(std::move(step));
    }

    void permute(const Operation& op) {
        const std::size_t x = slot(op, "x"), out = slot(op, "out");
        require(x != out && width(x) == width(out), "input and output differ in width, or are the same");
        const std::vector<float> order = padded_vector(tensor(op.name("order")), width(x), op.name("order"));
        std::vector<std::size_t> columns;
        for (std::size_t k = 0; k < width(x); ++k) {
            require(order[k] >= 0.0f && order[k] < static_cast<float>(width(x)), "its order names no column");
            columns.push_back(static_cast<std::size_t>(order[k]));
        }
        emit(std::make_unique<Gather>(std::move(columns), 1, x, out));
    }

    void attention(const Operation& op) {
        const std::size_t q = slot(op, "q"), k = slot(op, "k"), v = slot(op, "v"), out = slot(op, "out");
        const auto found = std::find_if(plan_.caches.begin(), plan_.caches.end(),
                                        [&](const CacheGroup& group) { return group.name == op.name("cache"); });
        require(found != plan_.caches.end(), "the cache group '" + op.name("cache") + "' is unknown");
        const CacheGroup& cache = *found;
        const std::size_t layer = op.size("layer", cache.layers - 1), heads = op.size("heads", kMaxWidth);
        require(heads > 0 && heads % cache.kv_heads == 0, "query heads must be a multiple of kv heads");
        require(width(q) == heads * cache.head_dim && width(out) == width(q) && q != out,
                "q or out differs from its heads");
        require(width(k) == cache.kv_heads * cache.head_dim && width(v) == width(k), "k or v differs from its heads");
        const auto index = static_cast<std::size_t>(found - plan_.caches.begin());
        std::size_t& group = groups_[index];
        require(group == 0 || group == heads / cache.kv_heads, "layers of a cache group differ in their query heads");
        group = heads / cache.kv_heads;
        const AttentionShape shape{index, layer,          cache.kv_heads,
                                   group, cache.head_dim, static_cast<float>(op.number("scale"))};
        emit(std::make_unique<StoreKv>(index, layer, k, v));
        emit(std::make_unique<Attend>(shape, q, out));
        emit(std::make_unique<MergePieces>(shape, out));
    }

    void slice(const Operation& op) {
        const std::size_t x = slot(op, "x"), out = slot(op, "out");
        const std::size_t heads = op.size("heads", kMaxWidth), start = op.size("start", kMaxWidth);
        require(x != out && heads > 0 && width(x) % heads == 0 && width(out) % heads == 0,
                "heads and widths do not fit");
        const std::size_t from = width(x) / heads, to = width(out) / heads;
        const std::size_t run = std::gcd(std::gcd(from, to), start);
        require(start + to <= from, "the part is outside its head");
        std::vector<std::size_t> runs;
        for (std::size_t head = 0; head < heads; ++head)
            for (std::size_t i = 0; i < to / run; ++i) runs.push_back((head * from + start) / run + i);
        emit(std::make_unique<Gather>(std::move(runs), run, x, out));
    }

    void transpose(const Operation& op) {
        const std::size_t x = slot(op, "x"), out = slot(op, "out");
        const std::size_t rows = op.size("rows", kMaxParts), columns = op.size("columns", kMaxParts);
        require(x != out && width(x) == width(out), "input and output differ in width, or are the same");
        require(rows > 0 && columns > 0 && width(x) % (rows * columns) == 0, "rows, columns and width do not fit");
        std::vector<std::size_t> runs;
        for (std::size_t j = 0; j < columns; ++j)
            for (std::size_t i = 0; i < rows; ++i) runs.push_back(i * columns + j);
        emit(std::make_unique<Gather>(std::move(runs), width(x) / (rows * columns), x, out));
    }

    // The index of the state group that an operation names.
    std::size_t states(const Operation& op) const {
        const auto found = std::find_if(plan_.states.begin(), plan_.states.end(),
                                        [&](const StateGroup& group) { return group.name == op.name("states"); });
        require(found != plan_.states.end(), "the state group '" + op.name("states") + "' is unknown");
        return static_cast<std::size_t>(found - plan_.states.begin());
    }

    static std::size_t channels(const StateGroup& group) {
        return 2 * group.key_heads * group.key_dim + group.value_heads * group.value_dim;
    }

    void conv(const Operation& op) {
        const std::size_t x = slot(op, "x"), out = slot(op, "out"), index = states(op);
        const StateGroup& group = plan_.states[index];
        const std::size_t layer = op.size("layer", group.layers - 1);
        require(x != out && width(x) == channels(group) && width(out) == width(x), "its slots have the wrong width");
        const std::unique_ptr<Linear> weight = matrix(op.name("weight"), {});
        require(weight->out_features() == width(x) && weight->in_features() == group.conv_width,
                "its weight has the wrong shape");
        std::vector<float> transposed(group.conv_width * slots_[x].stride);
        std::vector<float> row(padded(group.conv_width));
        for (std::size_t c = 0; c < width(x); ++c) {
            weight->row(c, row.data());
            for (std::size_t j = 0; j < group.conv_width; ++j) transposed[j * slots_[x].stride + c] = row[j];
        }
        emit(std::make_unique<Convolve>(index, layer, std::move(transposed), x, out));
    }

    void delta_rule(const Operation& op) {
        const std::size_t x = slot(op, "x"), a = slot(op, "a"), b = slot(op, "b"), out = slot(op, "out");
        const std::size_t index = states(op);
        const StateGroup& group = plan_.states[index];
        const std::size_t layer = op.size("layer", group.layers - 1);
        require(x != out && a != out && b != out && width(x) == channels(group) && width(a) == group.value_heads &&
                    width(b) == width(a) && width(out) == group.value_heads * group.value_dim,
                "its slots have the wrong width");
        const std::string& order = op.name("order");
        require(order == "tiled" || order == "grouped", "the order '" + order + "' is unknown");
        const auto numbers = [&](const std::string& key) {
            return padded_vector(tensor(op.name(key)), group.value_heads, op.name(key));
        };
        const DeltaRule::Shape shape{index, layer, group, order == "tiled"};
        emit(std::make_unique<DeltaRule>(shape, numbers("decay"), numbers("bias"), x, a, b, out));
    }

    const Plan& plan_;
    const Tensors& tensors_;
    const Kernels& kernels_;
    std::vector<Slot>& slots_;
    StepList steps_{slots_};
    std::vector<std::size_t> groups_ = std::vector<std::size_t>(plan_.caches.size());  // query heads a kv head
    std::string kind_ = "frequencies";
};

const std::map<std::string, Compiler::Emitter> Compiler::kEmitters = {
    {"embed", &Compiler::embed},
    {"norm", &Compiler::norm},
    {"standardize", &Compiler::standardize},
    {"linear", &Compiler::linear},
    {"gated", &Compiler::gated},
    {"add", &Compiler::add},
    {"rope", &Compiler::rope},
    {"attention", &Compiler::attention},
    {"scale", &Compiler::scale},
    {"hadamard", &Compiler::hadamard},
    {"permute", &Compiler::permute},
    {"rotate", &Compiler::rotate},
    {"slice", &Compiler::slice},
    {"transpose", &Compiler::transpose},
    {"conv", &Compiler::conv},
    {"deltarule", &Compiler::delta_rule},
};

}  // namespace

CompiledPlan compile_plan(const Plan& plan, const Tensors& tensors, const Kernels& kernels, std::vector<Slot>& slots) {
    return Compiler(plan, tensors, kernels, slots).compile();
}

}  // namespace sterna

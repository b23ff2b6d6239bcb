#include "step.hpp"

#include <algorithm>
#include <stdexcept>

#include "token_steps.hpp"

namespace sterna {
namespace {

class Multiply final : public Step {
public:
    Multiply(Linear matrix, std::size_t x, std::size_t out) : matrix_(std::move(matrix)), x_(x), out_(out) {
        grain = Grain::rows;
        reads = {x};
        writes = {out};
    }
    std::size_t items(const Run& run) const override { return division(run).items; }
    std::size_t chunk(const Run& run) const override { return division(run).chunk; }
    void run(Run& run, std::size_t thread, std::size_t first, std::size_t last) const override {
        matrix_.multiply(run.kernels, run.slots[x_].activations(run.batch.size()), division(run), first, last,
                         run.scratch[thread].get(), {run.slots[out_].values, run.slots[out_].stride});
    }
    std::size_t scratch(const Kernels& kernels) const override { return matrix_.scratch(kernels); }
    std::size_t multiply_adds() const override { return matrix_.out_features() * matrix_.in_features(); }

private:
    Division division(const Run& run) const { return matrix_.division(run.kernels, run.batch.size(), run.n_threads); }

    Linear matrix_;
    std::size_t x_, out_;
};

class Attend final : public Step {
public:
    Attend(std::size_t layer, std::size_t group, std::size_t head_dim, float scale, std::size_t q, std::size_t out)
        : layer_(layer), group_(group), head_dim_(head_dim), scale_(scale), q_(q), out_(out) {
        grain = Grain::heads;
        reads = {q};
        writes = {out};
    }
    // Whole (stretch, kv head) pairs first; the few that do not divide evenly are parted by query heads, into one part
    // a thread.
    std::size_t items(const Run& run) const override {
        return even(run) + (pairs(run) > even(run) ? run.n_threads : 0);
    }
    void run(Run& run, std::size_t thread, std::size_t first, std::size_t last) const override {
        for (std::size_t item = first; item < last; ++item) {
            // Shares are contiguous, and n divides evenly: deal the items out, so that each share has both kinds.
            const std::size_t share = items(run) / run.n_threads, i = item % share * run.n_threads + item / share;
            if (i < even(run)) {
                attend(run, thread, i, 0, group_);
                continue;
            }
            const std::size_t part = i - even(run), heads = (pairs(run) - even(run)) * group_;
            const std::size_t end = heads * (part + 1) / run.n_threads;
            for (std::size_t head = heads * part / run.n_threads; head < end;) {
                const std::size_t begin = head % group_, count = std::min(group_ - begin, end - head);
                attend(run, thread, even(run) + head / group_, begin, count);
                head += count;
            }
        }
    }
    std::size_t scratch(const Kernels&) const override {
        return attention_scratch(Stretch::kMost * group_, padded(head_dim_));
    }

private:
    static std::size_t pairs(const Run& run) { return run.batch.stretches.size() * run.pool.kv_heads(); }
    static std::size_t even(const Run& run) { return pairs(run) / run.n_threads * run.n_threads; }

    // `count` of the query heads of a (stretch, kv head) pair, from the first one.
    void attend(Run& run, std::size_t thread, std::size_t pair, std::size_t first, std::size_t count) const {
        const KvPool& pool = run.pool;
        const Stretch& stretch = run.batch.stretches[pair / pool.kv_heads()];
        const std::size_t h = pair % pool.kv_heads(), head = (h * group_ + first) * head_dim_;
        run.kernels.attention({.q = run.slots[q_].row(stretch.first) + head,
                               .out = run.slots[out_].row(stretch.first) + head,
                               .q_stride = run.slots[q_].stride,
                               .out_stride = run.slots[out_].stride,
                               .n_tokens = stretch.count,
                               .type = pool.type(),
                               .pool = pool.head(layer_, h),
                               .blocks = run.batch.blocks_of(stretch.first),
                               .block_stride = pool.block_bytes(),
                               .group = count,
                               .head_dim = head_dim_,
                               .head_stride = pool.head_stride(),
                               .position = run.batch.position(stretch.first),
                               .scale = scale_,
                               .scratch = run.scratch[thread].get()});
    }

    std::size_t layer_, group_, head_dim_;
    float scale_;
    std::size_t q_, out_;
};

class Compiler {
public:
    Compiler(const Plan& plan, const TensorTable& tensors, std::vector<Slot>& slots)
        : plan_(plan), tensors_(tensors), slots_(slots) {}

    std::vector<std::unique_ptr<Step>> compile() {
        for (const auto& [name, width] : plan_.slots) add_slot(name, width);
        for (const auto& [name, frequencies] : plan_.tables) {
            require(!frequencies.empty(), "a table of rotary frequencies is empty");
            emit(std::make_unique<Angles>(frequencies, add_slot("angles of " + name, 2 * frequencies.size())));
        }
        for (const Operation& op : plan_.operations)
            if (op.kind == "linear")
                slots_[slot(op.name("x"))].require(
                    activations_of(tensor(op.name("weight")).encoding, op.number("int8") != 0));
        for (const Operation& op : plan_.operations) {
            const auto emitter = kEmitters.find(op.kind);
            if (emitter == kEmitters.end())
                throw std::invalid_argument("The engine does not know the operation '" + op.kind + "'.");
            kind_ = op.kind;
            (this->*emitter->second)(op);
        }
        drop_unread_copies();
        return std::move(steps_);
    }

private:
    using Emitter = void (Compiler::*)(const Operation&);
    static const std::map<std::string, Emitter> kEmitters;
    static constexpr std::size_t kMaxWidth = std::size_t{1} << 24;

    void require(bool good, const std::string& what) const {
        if (!good) throw std::invalid_argument("The operation '" + kind_ + "' of the plan is malformed: " + what + ".");
    }

    std::size_t add_slot(const std::string& name, std::size_t width) {
        require(width > 0 && width <= kMaxWidth, "the width of '" + name + "' is out of range");
        Slot slot;
        slot.name = name;
        slot.width = width;
        slot.stride = padded(width);
        slots_.push_back(std::move(slot));
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

    Linear matrix(const std::string& name, bool int8) const { return Linear(tensor(name), int8, name); }

    // A slot that feeds integer kernels is quantised as soon as it is written.
    void emit(std::unique_ptr<Step> step) {
        const std::vector<std::size_t> written = step->writes;
        steps_.push_back(std::move(step));
        for (const std::size_t index : written)
            if (slots_[index].int8 || slots_[index].int15) steps_.push_back(std::make_unique<Quantize>(index));
    }

    // Takes out the quantisations that no matrix reads before the slot is written again.
    void drop_unread_copies() {
        const auto has = [](const std::vector<std::size_t>& slots, std::size_t slot) {
            return std::find(slots.begin(), slots.end(), slot) != slots.end();
        };
        std::vector<bool> read_later(slots_.size(), false);
        for (std::size_t i = steps_.size(); i-- > 0;) {
            const Step& step = *steps_[i];
            if (const auto* copy = dynamic_cast<const Quantize*>(&step)) {
                if (!read_later[copy->x]) steps_[i] = nullptr;
                continue;
            }
            for (std::size_t slot = 0; slot < slots_.size(); ++slot) {
                if (has(step.writes, slot)) read_later[slot] = false;
                if (step.grain == Grain::rows && has(step.reads, slot)) read_later[slot] = true;
            }
        }
        std::erase(steps_, nullptr);
    }

    void embed(const Operation& op) {
        Linear table = matrix(op.name("weight"), false);
        const std::size_t out = slot(op, "out");
        require(table.in_features() == width(out), "the embedding and its slot differ in width");
        require(table.out_features() >= plan_.vocab_size, "the embedding has fewer rows than the vocabulary");
        emit(std::make_unique<Embed>(std::move(table), out));
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

    void linear(const Operation& op) {
        const std::size_t x = slot(op, "x"), out = slot(op, "out");
        Linear weight = matrix(op.name("weight"), op.number("int8") != 0);
        require(x != out && weight.in_features() == width(x) && weight.out_features() == width(out),
                "the matrix '" + op.name("weight") + "' and its slots differ in width");
        emit(std::make_unique<Multiply>(std::move(weight), x, out));
    }

    void gated(const Operation& op) {
        const std::size_t gate = slot(op, "gate"), up = slot(op, "up"), out = slot(op, "out");
        require(width(gate) == width(up) && width(gate) == width(out), "its slots differ in width");
        static const std::map<std::string, Activation> kActivations = {
            {"relu2", Activation::relu2}, {"silu", Activation::silu}, {"gelu", Activation::gelu}};
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
        const std::size_t x = slot(op, "x"), angles = slot("angles of " + op.name("table"));
        const std::size_t heads = op.size("heads", kMaxWidth), half = width(angles) / 2;
        require(heads > 0 && width(x) % heads == 0 && 2 * half <= width(x) / heads, "heads and dimensions do not fit");
        const std::string& style = op.name("style");
        require(style == "half" || style == "interleaved", "the style '" + style + "' is unknown");
        emit(
            std::make_unique<Rope>(style == "half" ? RopeStyle::half : RopeStyle::interleaved, angles, half, heads, x));
    }

    void attention(const Operation& op) {
        const std::size_t q = slot(op, "q"), k = slot(op, "k"), v = slot(op, "v"), out = slot(op, "out");
        const std::size_t layer = op.size("layer", plan_.layers - 1), heads = op.size("heads", kMaxWidth);
        require(heads > 0 && heads % plan_.kv_heads == 0, "query heads must be a multiple of kv heads");
        require(width(q) == heads * plan_.head_dim && width(out) == width(q) && q != out,
                "q or out differs from its heads");
        require(width(k) == plan_.kv_heads * plan_.head_dim && width(v) == width(k), "k or v differs from its heads");
        emit(std::make_unique<StoreKv>(layer, k, v));
        emit(std::make_unique<Attend>(layer, heads / plan_.kv_heads, plan_.head_dim,
                                      static_cast<float>(op.number("scale")), q, out));
    }

    const Plan& plan_;
    const TensorTable& tensors_;
    std::vector<Slot>& slots_;
    std::vector<std::unique_ptr<Step>> steps_;
    std::string kind_ = "tables";
};

const std::map<std::string, Compiler::Emitter> Compiler::kEmitters = {
    {"embed", &Compiler::embed},         {"norm", &Compiler::norm},   {"linear", &Compiler::linear},
    {"gated", &Compiler::gated},         {"add", &Compiler::add},     {"rope", &Compiler::rope},
    {"attention", &Compiler::attention}, {"scale", &Compiler::scale},
};

}  // namespace

std::vector<std::unique_ptr<Step>> compile_steps(const Plan& plan, const TensorTable& tensors,
                                                 std::vector<Slot>& slots) {
    return Compiler(plan, tensors, slots).compile();
}

}  // namespace sterna

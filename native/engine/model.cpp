#include "model.hpp"

#include <algorithm>
#include <cstring>
#include <numeric>
#include <stdexcept>

#include "shares.hpp"
#include "thread_pool.hpp"

namespace sterna {
namespace {

// Logits are computed for so many rows at a time that they are about kLogits floats, a buffer that is kept between
// passes and that caches hold in part; but for kLeastLogitRows at least, which share a read of the head's matrix.
constexpr std::size_t kLogits = std::size_t{1} << 22, kLeastLogitRows = 64;

bool overlap(const std::vector<std::size_t>& a, const std::vector<std::size_t>& b) {
    return std::any_of(a.begin(), a.end(), [&](std::size_t i) { return std::find(b.begin(), b.end(), i) != b.end(); });
}

// The first step of each phase, then the number of steps. A phase is consecutive steps that need no barrier between
// them: steps on tokens, where one thread runs all steps of the phase for the tokens that it takes; or matrices, none
// of which writes a slot that another one reads or writes.
std::vector<std::size_t> phase_starts(const std::vector<std::unique_ptr<Step>>& steps) {
    std::vector<std::size_t> starts;
    for (std::size_t i = 0; i < steps.size(); ++i) {
        bool joins = i > 0 && steps[i]->grain == steps[i - 1]->grain && steps[i]->grain != Grain::heads;
        if (joins && steps[i]->grain == Grain::rows)
            for (std::size_t j = starts.back(); j < i; ++j)
                joins = joins && !overlap(steps[i]->reads, steps[j]->writes) &&
                        !overlap(steps[i]->writes, steps[j]->writes) && !overlap(steps[i]->writes, steps[j]->reads);
        if (!joins) starts.push_back(i);
    }
    starts.push_back(steps.size());
    return starts;
}

// in_use[slot][phase]: whether the phase reads or writes the slot, or the slot keeps what a later step reads. Threads
// pass through a phase at different speeds, but steps of different phases never run at the same time. A slot with
// padding is always in use: the padding must stay zero.
std::vector<std::vector<bool>> slot_uses(const std::vector<Slot>& slots,
                                         const std::vector<std::unique_ptr<Step>>& steps,
                                         const std::vector<std::size_t>& phases, std::size_t output) {
    std::vector<std::vector<bool>> in_use;
    for (const Slot& slot : slots) in_use.emplace_back(phases.size() - 1, slot.width != slot.stride);
    std::vector<bool> kept(slots.size(), false);
    kept[output] = true;
    for (std::size_t phase = phases.size() - 1; phase-- > 0;) {
        std::vector<bool> touched = kept;
        for (std::size_t i = phases[phase + 1]; i-- > phases[phase];) {
            for (const std::size_t slot : steps[i]->writes) touched[slot] = true, kept[slot] = false;
            for (const std::size_t slot : steps[i]->reads) touched[slot] = true, kept[slot] = true;
        }
        for (std::size_t slot = 0; slot < slots.size(); ++slot)
            if (touched[slot]) in_use[slot][phase] = true;
    }
    return in_use;
}

// Tokens that a thread takes at a time through the steps of a phase.
std::size_t most_of_chunks(std::span<const std::unique_ptr<Step>> steps, const Run& run) {
    std::size_t most = 1;
    for (const auto& step : steps) most = std::max(most, step->chunk(run));
    return most;
}

// The part of the last pass's time that is spent on settling before the next one.
constexpr int kSettlingShare = 2;

// Waking a thread and waiting for it costs microseconds: each thread should have at least about 50 microseconds of
// work.
std::size_t worthwhile_threads(std::size_t multiply_adds, std::size_t n_threads) {
    constexpr std::size_t kLeast = 4'000'000;
    return std::clamp<std::size_t>(multiply_adds / kLeast, 1, n_threads);
}

constexpr std::size_t kMaxHeads = std::size_t{1} << 12;

const Plan& checked(const Plan& plan) {
    bool good = plan.vocab_size != 0;
    for (const CacheGroup& cache : plan.caches)
        good = good && cache.layers != 0 && cache.kv_heads != 0 && cache.head_dim != 0 && cache.head_dim <= kMaxHeadDim;
    for (const StateGroup& state : plan.states)
        good = good && state.layers != 0 && state.key_heads != 0 && state.value_heads % state.key_heads == 0 &&
               state.value_heads != 0 && state.value_heads <= kMaxHeads && state.key_dim != 0 &&
               state.key_dim <= kMaxHeadDim && state.value_dim != 0 && state.value_dim <= kMaxHeadDim &&
               state.conv_width > 1 && state.conv_width <= StateGroup::kMaxConvWidth;
    if (!good) throw std::invalid_argument("The plan has a dimension of zero, or heads that are too wide.");
    return plan;
}

std::unique_ptr<Linear> head_of(const Plan& plan, const Tensors& tensors, const Kernels& kernels, bool in_place) {
    const std::string& name = plan.head.name("weight");
    const auto found = tensors.find(name);
    if (found == tensors.end()) throw std::invalid_argument("The plan names an unknown head '" + name + "'.");
    return make_head(found->second, plan.head.activations(), kernels, name, in_place);
}

// The matrices that adapters may update: those of the plan, and the head as the last one.
std::vector<Site> with_head(std::vector<Site> sites, const Plan& plan, const Linear& head) {
    sites.push_back({plan.head.name("weight"), head.out_features(), head.in_features()});
    return sites;
}

std::size_t slot_named(const std::vector<Slot>& slots, const std::string& name) {
    for (std::size_t i = 0; i < slots.size(); ++i)
        if (slots[i].name == name) return i;
    throw std::invalid_argument("The plan names an unknown output '" + name + "'.");
}

}  // namespace

Model::Model(const Plan& plan, const Tensors& tensors, const Kernels& kernels, std::size_t n_threads, bool in_place,
             Settling::Clock::duration settling)
    : kernels_(kernels),
      caches_(checked(plan).caches),
      states_(plan.states),
      token_limit_(plan.vocab_size),
      compiled_(compile_plan(plan, tensors, kernels, slots_)),
      phases_(phase_starts(compiled_.steps)),
      output_(slot_named(slots_, plan.output)),
      head_(head_of(plan, tensors, kernels, in_place)),
      sites_(with_head(compiled_.sites, plan, *head_)),
      head_input_("head", head_->in_features()),
      slot_uses_(slot_uses(slots_, compiled_.steps, phases_, output_)) {
    if (head_->in_features() != slots_[output_].width)
        throw std::invalid_argument("The head and the hidden state differ in width.");
    for (std::size_t i = 0; i + 1 < phases_.size(); ++i)
        if (compiled_.steps[phases_[i]]->grain != Grain::tokens)
            widest_phase_ = std::max(widest_phase_, phases_[i + 1] - phases_[i]);
    scratch_size_ = head_->scratch();
    for (const auto& step : compiled_.steps) {
        scratch_size_ = std::max(scratch_size_, step->scratch(kernels_));
        multiply_adds_ += step->multiply_adds();
        parts_.push_back(step->part);
    }
    head_input_.require(head_->form());
    std::vector<std::unique_ptr<Linear>*> multiplied;
    for (const auto& step : compiled_.steps)
        if (step->multiplies()) multiplied.push_back(step->matrix());
    multiplied.push_back(&head_);
    settling_ = Settling(multiplied, in_place);
    settling_.go_on(n_threads, settling);
}

void Model::settle(std::size_t n_threads) {
    const std::lock_guard lock(mutex_);
    settling_.go_on(n_threads, Settling::Clock::duration::max());
}

bool Model::reads(const std::uint8_t* data) const {
    return head_->reads(data) || std::any_of(compiled_.steps.begin(), compiled_.steps.end(), [&](const auto& step) {
               const std::unique_ptr<Linear>* matrix = step->matrix();
               return matrix != nullptr && (*matrix)->reads(data);
           });
}

void Model::begin_pass(const Batch& batch, Profile& profile) const {
    profile.matrix_bytes = 0;
    for (const auto& step : compiled_.steps) profile.matrix_bytes += step->bytes();
    profile.head_bytes = head_->memory_bytes();
    profile.multiply_adds = multiply_adds_;
    profile.passes.push_back({batch.size(), batch.adapter_ids.size(), {}});
}

void Model::reserve(std::size_t tokens, std::size_t n_threads) {
    while (scratch_.size() < n_threads) scratch_.emplace_back(scratch_size_);
    if (tokens <= capacity_) return;
    capacity_ = 0;
    memory_ = {};  // frees the old memory before the new is taken
    std::vector<std::size_t> sizes;
    for (Slot& slot : slots_) sizes.push_back(slot.place(nullptr, tokens));
    const Layout layout = lay_out(sizes, slot_uses_);
    memory_ = Buffer<std::byte>(layout.bytes);
    for (std::size_t i = 0; i < slots_.size(); ++i) slots_[i].place(memory_.get() + layout.offsets[i], tokens);
    capacity_ = tokens;
}

std::vector<StateWork> Model::state_work(const Batch& batch, std::span<StatePool* const> pools) const {
    if (pools.size() != states_.size() || batch.state_tables.size() != states_.size())
        throw std::invalid_argument("There must be a state pool and a table for each state group.");
    std::vector<StateWork> work;
    for (std::size_t i = 0; i < pools.size(); ++i) {
        StateGroup shape = pools[i]->shape();
        shape.name = states_[i].name;
        if (shape != states_[i]) throw std::invalid_argument("The state pool was made for a model of another shape.");
        work.emplace_back(batch, batch.state_tables[i], *pools[i]);
    }
    return work;
}

void Model::forward(Batch& batch, std::span<const KvPool* const> pools, std::span<StatePool* const> states,
                    std::size_t n_threads, float* hidden, Profile* profile) {
    const std::lock_guard lock(mutex_);
    if (profile != nullptr) begin_pass(batch, *profile);
    CallTimer timer(profile);
    if (pools.size() != caches_.size()) throw std::invalid_argument("There must be a KV pool for each cache group.");
    std::vector<Cache> caches;
    for (std::size_t i = 0; i < pools.size(); ++i) {
        const CacheGroup& group = caches_[i];
        if (pools[i]->layers() < group.layers || pools[i]->kv_heads() != group.kv_heads ||
            pools[i]->head_dim() != group.head_dim)
            throw std::invalid_argument("The KV pool was made for a model of another shape.");
        caches.push_back({pools[i], group.window});
    }
    batch.check(token_limit_, caches);
    const std::vector<StateWork> state_work = this->state_work(batch, states);
    settling_.go_on(n_threads, last_pass_ / kSettlingShare);
    const auto begin = Settling::Clock::now();
    n_threads = worthwhile_threads(multiply_adds_ * batch.size(), n_threads);
    reserve(batch.size(), n_threads);
    std::vector<AttentionWork> attention;
    for (std::size_t i = 0; i < caches.size(); ++i)
        attention.emplace_back(batch, caches[i], compiled_.groups[i], n_threads);
    const std::vector<AdaptedRows> adapted = adapted_rows(batch.adapter_ids, batch.cu_seqlens, batch.mixes, sites_);
    const std::size_t width = widest(adapted);
    const Buffer<float> low_rank(compiled_.widest_group * batch.size() * width);
    Run run{kernels_, batch, caches, attention, state_work, slots_, adapted, low_rank, width, scratch_, n_threads};
    const auto& all = compiled_.steps;
    std::vector<std::size_t> busy;  // phases that have work: those of adapters may have none
    for (std::size_t phase = 0; phase + 1 < phases_.size(); ++phase)
        if (std::any_of(&all[phases_[phase]], &all[0] + phases_[phase + 1],
                        [&](const auto& step) { return step->items(run) > 0; }))
            busy.push_back(phase);
    // Two sets, each with shares for every step of a phase: while one set is in use, the other is reset.
    std::vector<Shares> shares;
    for (std::size_t i = 0; i < 2 * widest_phase_; ++i) shares.emplace_back(n_threads);
    timer.run(n_threads, parts_, [&](std::size_t thread, Barrier& barrier, StepTimer& watch) {
        for (std::size_t turn = 0; turn < busy.size(); ++turn) {
            const std::size_t phase = busy[turn];
            const std::span set(&shares[turn % 2 * widest_phase_], widest_phase_);
            const std::span steps(&all[phases_[phase]], phases_[phase + 1] - phases_[phase]);
            for (std::size_t i = 0; i < widest_phase_; ++i) shares[(turn + 1) % 2 * widest_phase_ + i].reset(thread);
            watch.start();
            if (steps.front()->grain == Grain::tokens)
                set.front().each(thread, batch.size(), most_of_chunks(steps, run),
                                 [&](std::size_t first, std::size_t last) {
                                     for (std::size_t i = 0; i < steps.size(); ++i) {
                                         steps[i]->run(run, thread, first, last);
                                         watch.stop(phases_[phase] + i);
                                     }
                                 });
            else
                for (std::size_t i = 0; i < steps.size(); ++i) {
                    const std::size_t items = steps[i]->items(run);
                    if (items == 0) continue;
                    set[i].each(thread, items, steps[i]->chunk(run),
                                [&](std::size_t first, std::size_t last) { steps[i]->run(run, thread, first, last); });
                    watch.stop(phases_[phase] + i);
                }
            barrier.wait(n_threads);
        }
    });
    for (std::size_t i = 0; i < states.size(); ++i) states[i]->contents = state_work[i].contents();
    last_pass_ = Settling::Clock::now() - begin;
    const Slot& output = slots_[output_];
    for (std::size_t i = 0; i < batch.output_rows.size(); ++i)
        std::memcpy(hidden + i * output.width, output.row(static_cast<std::size_t>(batch.output_rows[i])),
                    output.width * sizeof(float));
}

void Model::head_rows(const HeadRows& rows, std::size_t n_threads, float* out, CallTimer& timer) {
    const float* hidden = rows.hidden.data();
    const std::size_t n = rows.hidden.size() / hidden_size();
    if (rows.hidden.size() % hidden_size() != 0) throw std::invalid_argument("Hidden rows must be hidden_size wide.");
    if (rows.adapter_ids.size() != n) throw std::invalid_argument("adapter_ids must have one entry a row.");
    if (n == 0) return;
    std::vector<std::int32_t> ends(n + 1);
    std::iota(ends.begin(), ends.end(), 0);
    const std::vector<AdaptedRows> adapted = adapted_rows(rows.adapter_ids, ends, rows.mixes, sites_);
    const std::size_t width = widest(adapted);
    const Buffer<float> low_rank(n * width);
    const SiteWork adapters{kernels_, adapted, sites_.size() - 1, low_rank.get(), width};
    n_threads = worthwhile_threads(head_->out_features() * head_->in_features() * n, n_threads);
    reserve(0, n_threads);
    head_memory_ = Buffer<std::byte>(head_input_.place(nullptr, n));
    head_input_.place(head_memory_.get(), n);
    std::vector<Shares> shares;  // of the matrix, of A and of B
    for (std::size_t i = 0; i < 3; ++i) shares.emplace_back(n_threads);
    const Division division = head_->division(n, n_threads);
    timer.run(n_threads, {"quantize", "head", "adapters"}, [&](std::size_t thread, Barrier& barrier, StepTimer& watch) {
        watch.start();
        for (std::size_t i = thread; i < n; i += n_threads) {
            std::memcpy(head_input_.row(i), hidden + i * head_input_.width, head_input_.width * sizeof(float));
            head_input_.quantize(kernels_, i);
        }
        watch.stop(0);
        barrier.wait(n_threads);
        watch.start();
        shares[0].each(thread, division.items, division.chunk, [&](std::size_t first, std::size_t last) {
            head_->multiply(head_input_.activations(head_->form(), n), division, first, last, scratch_[thread].get(),
                            {out, head_->out_features()});
        });
        watch.stop(1);
        if (!adapters.any()) return;
        shares[1].each(thread, adapters.down_items(), 1, [&](std::size_t first, std::size_t last) {
            for (std::size_t i = first; i < last; ++i) adapters.down(i, {head_input_.values, head_input_.stride});
        });
        watch.stop(2);
        barrier.wait(n_threads);
        watch.start();
        const std::size_t columns = head_->out_features();
        shares[2].each(thread, SiteWork::up_items(columns), 1, [&](std::size_t first, std::size_t last) {
            for (std::size_t i = first; i < last; ++i) adapters.up(i, columns, {out, columns});
        });
        watch.stop(2);
    });
}

void Model::logits(const HeadRows& rows, std::size_t n_threads, float* out, Profile* profile) {
    const std::lock_guard lock(mutex_);
    CallTimer timer(profile);
    head_rows(rows, n_threads, out, timer);
}

template <class Result>
std::vector<Result> Model::of_logits(const HeadRows& rows, std::size_t n_threads, Profile* profile,
                                     const auto& result) {
    const std::lock_guard lock(mutex_);
    CallTimer timer(profile);
    const std::size_t n = rows.hidden.size() / hidden_size(), vocab = vocab_size();
    const std::size_t together = std::min(n, std::max(kLogits / vocab, kLeastLogitRows));
    if (logits_capacity_ < together * vocab) {
        logits_capacity_ = 0;
        logits_ = {};  // frees the old memory before the new is taken
        logits_ = Buffer<float>(together * vocab);
        logits_capacity_ = together * vocab;
    }
    std::vector<Result> results(n);
    for (std::size_t first = 0; first < n; first += together) {
        const std::size_t some = std::min(together, n - first);
        head_rows({rows.hidden.subspan(first * hidden_size(), some * hidden_size()),
                   rows.adapter_ids.subspan(first, some), rows.mixes},
                  n_threads, logits_.get(), timer);
        timer.run(n_threads, {"choice"}, [&](std::size_t thread, Barrier&, StepTimer& watch) {
            watch.start();
            for (std::size_t i = thread; i < some; i += n_threads)
                results[first + i] = result(std::span(logits_.get() + i * vocab, vocab), first + i);
            watch.stop(0);
        });
    }
    return results;
}

std::vector<Choice> Model::select(const HeadRows& rows, std::span<const Sampling> samplings, std::size_t n_threads,
                                  Profile* profile) {
    if (rows.hidden.size() != samplings.size() * hidden_size())
        throw std::invalid_argument("There must be one sampling for each hidden row.");
    return of_logits<Choice>(rows, n_threads, profile,
                             [&](std::span<float> logits, std::size_t i) { return choose(logits, samplings[i]); });
}

std::vector<Score> Model::score(const HeadRows& rows, std::span<const std::int32_t> ids, std::size_t n_threads,
                                Profile* profile) {
    if (rows.hidden.size() != ids.size() * hidden_size())
        throw std::invalid_argument("There must be one id for each hidden row.");
    for (const std::int32_t id : ids)
        if (id < 0 || static_cast<std::size_t>(id) >= vocab_size())
            throw std::invalid_argument("An id is out of range.");
    return of_logits<Score>(rows, n_threads, profile, [&](std::span<float> logits, std::size_t i) {
        return sterna::score(kernels_, logits, ids[i]);
    });
}

}  // namespace sterna

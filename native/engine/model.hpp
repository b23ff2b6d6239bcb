// A compiled plan: forward passes to hidden rows, and the head that turns them into logits or tokens.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "buffer.hpp"
#include "compile.hpp"
#include "profile.hpp"
#include "sampler.hpp"
#include "score.hpp"
#include "settling.hpp"

namespace sterna {

// Hidden rows [n, hidden_size], and the mix of each: 0 for none, or its number, counted from 1.
struct HeadRows {
    std::span<const float> hidden;
    std::span<const std::int32_t> adapter_ids;
    std::span<const Mix> mixes;
};

class Model {
public:
    // Checks the whole plan against the tensors, whose bytes must outlive the model.
    // n_threads settle matrices in huge pages, for `settling` here and then between passes; `in_place` leaves those
    // where they lie that have kernels for it. Throws std::invalid_argument, with one sentence, where anything does not
    // fit, and std::bad_alloc.
    Model(const Plan& plan, const Tensors& tensors, const Kernels& kernels, std::size_t n_threads, bool in_place,
          Settling::Clock::duration settling);

    std::size_t hidden_size() const { return slots_[output_].width; }
    std::size_t vocab_size() const { return head_->out_features(); }

    // Settles what is not settled yet, and whether nothing is.
    void settle(std::size_t n_threads);
    bool settled() const { return settling_.done(); }

    // Whether a matrix is read from the bytes at `data`.
    bool reads(const std::uint8_t* data) const;

    // An adapter for the batches of this model, by the names of the matrices of its plan. Throws std::invalid_argument
    // where it does not fit them.
    Adapter adapter(const std::map<std::string, Update>& updates) const { return {updates, sites_, kernels_}; }

    // hidden[i] = the hidden row of token batch.output_rows[i], [n, hidden_size]. Writes the keys and values of all
    // tokens to the pools, one for each cache group of the plan, and their states to those of its state groups. It
    // begins a pass of `profile`, if there is one.
    void forward(Batch& batch, std::span<const KvPool* const> pools, std::span<StatePool* const> states,
                 std::size_t n_threads, float* hidden, Profile* profile = nullptr);

    // logits[i] = head * hidden[i], [n, vocab_size].
    void logits(const HeadRows& rows, std::size_t n_threads, float* out, Profile* profile = nullptr);

    // The token chosen from the logits of each hidden row, by the sampling of that row.
    std::vector<Choice> select(const HeadRows& rows, std::span<const Sampling> samplings, std::size_t n_threads,
                               Profile* profile = nullptr);

    // The score of ids[i] in the logits of hidden row i. Throws std::invalid_argument for an id that is none.
    std::vector<Score> score(const HeadRows& rows, std::span<const std::int32_t> ids, std::size_t n_threads,
                             Profile* profile = nullptr);

private:
    std::vector<StateWork> state_work(const Batch& batch, std::span<StatePool* const> pools) const;
    void begin_pass(const Batch& batch, Profile& profile) const;
    void reserve(std::size_t tokens, std::size_t n_threads);
    void head_rows(const HeadRows& rows, std::size_t n_threads, float* out, CallTimer& timer);
    // result(logits, i) for each hidden row i.
    template <class Result>
    std::vector<Result> of_logits(const HeadRows& rows, std::size_t n_threads, Profile* profile, const auto& result);

    std::mutex mutex_;
    const Kernels& kernels_;
    std::vector<CacheGroup> caches_;
    std::vector<StateGroup> states_;
    std::size_t token_limit_;
    std::vector<Slot> slots_;
    CompiledPlan compiled_;
    std::vector<std::size_t> phases_;  // index of the first step of each phase, and the end
    std::vector<std::string> parts_;   // the part of each step
    std::size_t widest_phase_ = 1;     // the most Shares in a phase: one per step, but one for all steps on tokens
    std::size_t output_;
    std::unique_ptr<Linear> head_;
    std::vector<Site> sites_;  // of the plan, then the head
    Slot head_input_;
    Settling settling_;
    Settling::Clock::duration last_pass_{};     // how long the last forward pass took
    std::vector<std::vector<bool>> slot_uses_;  // [slots, phases]
    Buffer<std::byte> memory_, head_memory_;    // of the slots, of the head's input
    Buffer<float> logits_;                      // of the rows whose logits are looked at together
    std::size_t logits_capacity_ = 0;
    std::size_t multiply_adds_ = 0;  // of all matrices, a token
    std::size_t capacity_ = 0, scratch_size_ = 0;
    std::vector<Buffer<float>> scratch_;
};

}  // namespace sterna

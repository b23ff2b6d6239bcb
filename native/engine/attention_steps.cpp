#include "attention_steps.hpp"

namespace sterna {
namespace {

AttentionSums from_row(const AttentionSums& sums, std::size_t row, std::size_t head_stride) {
    return {sums.values + row * head_stride, sums.maximum + row, sums.total + row};
}

}  // namespace

void Attend::run(Run& run, std::size_t thread, std::size_t first, std::size_t last) const {
    const auto& pieces = run.attention_work[shape_.cache].pieces();
    const std::size_t group = shape_.group;
    for (std::size_t item = first; item < last; ++item) {
        // A thread's share is a contiguous range of items, and all shares are equal, since n_threads divides the number
        // of items. Items are dealt out round-robin, so that each share has whole pairs and a part of the rest.
        const std::size_t share = items(run) / run.n_threads, i = item % share * run.n_threads + item / share;
        if (i < even(run)) {
            attend(run, thread, i, 0, group);
            continue;
        }
        const std::size_t part = i - even(run), heads = (pairs(run) - even(run)) * group;
        const std::size_t end = heads * (part + 1) / run.n_threads;
        for (std::size_t head = heads * part / run.n_threads; head < end;) {
            const std::size_t pair = even(run) + head / group, begin = head % group;
            const std::size_t count = std::min(group - begin, end - head);
            if (pieces[pair / shape_.kv_heads].sums == AttentionWork::kNone)
                attend(run, thread, pair, begin, count);
            else if (begin == 0)
                attend(run, thread, pair, 0, group);
            head += count;
        }
    }
}

void Attend::attend(Run& run, std::size_t thread, std::size_t pair, std::size_t first_head, std::size_t count) const {
    const auto& [cache, layer, kv_heads, group, head_dim, scale] = shape_;
    const AttentionWork& work = run.attention_work[cache];
    const AttentionWork::Piece& piece = work.pieces()[pair / kv_heads];
    const Stretch& stretch = run.batch.stretches[piece.stretch];
    const KvPool& pool = *run.caches[cache].pool;
    const std::size_t kv_head = pair % kv_heads, head = (kv_head * group + first_head) * head_dim;
    const std::size_t rows = stretch.count * count, head_stride = pool.head_stride();
    float* memory = run.scratch[thread].get();
    const AttentionSums sums = attention_sums_at(memory, rows, head_stride);
    const AttentionSums more = attention_sums_at(memory + attention_sums(rows, head_stride), rows, head_stride);
    AttentionTask task{.q = run.slots[q_].row(stretch.first) + head,
                       .q_stride = run.slots[q_].stride,
                       .n_tokens = stretch.count,
                       .group = count,
                       .head_dim = head_dim,
                       .head_stride = head_stride,
                       .type = pool.type(),
                       .pool = pool.head(layer, kv_head),
                       .blocks = run.batch.blocks_of(cache, stretch.first),
                       .block_stride = pool.block_bytes(),
                       .position = run.batch.position(stretch.first),
                       .window = run.caches[cache].window,
                       .first = piece.first,
                       .last = piece.last,
                       .scale = scale,
                       .sums = sums,
                       .scratch = memory + 2 * attention_sums(rows, head_stride)};
    if (piece.sums != AttentionWork::kNone) {
        task.sums = work.sums(piece, kv_head);
        return run.kernels.attention(task);
    }
    for (task.first = piece.first; task.first < piece.last; task.first = task.last) {
        task.last = std::min(piece.last, (task.first / AttentionWork::kSegment + 1) * AttentionWork::kSegment);
        task.sums = task.first == piece.first ? sums : more;
        run.kernels.attention(task);
        if (task.first != piece.first) run.kernels.merge_attention(sums, more, rows, head_stride);
    }
    for (std::size_t t = 0; t < stretch.count; ++t)
        run.kernels.finish_attention(sums, t * count, count, head_dim, head_stride,
                                     run.slots[out_].row(stretch.first + t) + head);
}

void MergePieces::token(Run& run, std::size_t t) const {
    const AttentionWork& work = run.attention_work[shape.cache];
    const auto [begin, end] = work.pieces_of(t);
    if (begin == end) return;
    const std::size_t head_stride = run.caches[shape.cache].pool->head_stride();
    const std::size_t row = (t - run.batch.stretches[work.stretch_of(t)].first) * shape.group;
    for (std::size_t h = 0; h < shape.kv_heads; ++h) {
        const AttentionSums sums = from_row(work.sums(work.pieces()[begin], h), row, head_stride);
        for (std::size_t i = begin + 1; i < end; ++i)
            run.kernels.merge_attention(sums, from_row(work.sums(work.pieces()[i], h), row, head_stride), shape.group,
                                        head_stride);
        run.kernels.finish_attention(sums, 0, shape.group, shape.head_dim, head_stride,
                                     run.slots[out].row(t) + h * shape.group * shape.head_dim);
    }
}

}  // namespace sterna

"""Attention over keys and values in blocks of 64 positions (paged, arXiv 2309.06180)."""

from __future__ import annotations

import triton
import triton.language as tl

from sterna.gpu.kernels.rows import HALF_EVEN

BLOCK = tl.constexpr(64)
"""Positions of a block."""


@triton.jit
def heads_kernel(
    qkv,
    turns,
    q_weight,
    k_weight,
    keys,
    values,
    key_scales,
    value_scales,
    positions,
    sequences,
    table,
    first_block,
    table_width,
    stride,
    k_at,
    v_at,
    eps,
    HEADS: tl.constexpr,
    KV_HEADS: tl.constexpr,
    SIZE: tl.constexpr,
    PAIRS: tl.constexpr,
    INTERLEAVED: tl.constexpr,
    NORM: tl.constexpr,
    INT8: tl.constexpr,
    WIDTH: tl.constexpr,
):
    """One head of q, k or v of a token a program: q and k normed (NORM) and rotated, k and v put where the sequence's
    block table says; q stays in its slot.

    `qkv` [tokens, stride] has q, then k from column `k_at` and v from `v_at`. `turns` float32 [positions, PAIRS, 2] are
    cosines and sines. `keys` and `values` [blocks, 64, KV_HEADS, SIZE] from `first_block` on, with INT8 their scales
    float32 [blocks, 64, KV_HEADS]. A token at the position -1 leaves nothing.
    """
    token = tl.program_id(0).to(tl.int64)
    head = tl.program_id(1)
    position = tl.load(positions + token)
    is_q = head < HEADS
    is_k = (head >= HEADS) & (head < HEADS + KV_HEADS)
    is_v = head >= HEADS + KV_HEADS
    kv_head = tl.where(is_q, 0, (head - HEADS) % KV_HEADS)
    start = tl.where(is_q, head * SIZE, tl.where(is_v, v_at, k_at) + kv_head * SIZE)
    at = tl.arange(0, WIDTH)
    inside = at < SIZE
    x = qkv + token * stride + start
    value = tl.load(x + at, mask=inside, other=0.0)
    turned = inside & (at < 2 * PAIRS)
    if INTERLEAVED:
        other, pair, is_first = at ^ 1, at // 2, at % 2 == 0
    else:
        other, pair, is_first = tl.where(at < PAIRS, at + PAIRS, at - PAIRS), at % PAIRS, at < PAIRS
    partner = tl.load(x + other, mask=turned, other=0.0)
    if is_q | is_k:
        if NORM:
            wide = value.to(tl.float64)
            mean = (tl.sum(wide * wide, axis=0) / SIZE).to(tl.float32)
            root = tl.div_rn(1.0, tl.sqrt_rn(mean + eps))
            weight = tl.load(q_weight + at, mask=inside, other=0.0)
            weight_of_other = tl.load(q_weight + other, mask=turned, other=0.0)
            if is_k:
                weight = tl.load(k_weight + at, mask=inside, other=0.0)
                weight_of_other = tl.load(k_weight + other, mask=turned, other=0.0)
            value = value * root * weight
            partner = partner * root * weight_of_other
        turn = turns + (tl.maximum(position, 0).to(tl.int64) * PAIRS + pair) * 2
        cosine = tl.load(turn, mask=turned, other=1.0)
        sine = tl.load(turn + 1, mask=turned, other=0.0)
        value = value * cosine + tl.where(is_first, -partner, partner) * sine
    tl.debug_barrier()  # no thread may write what another has not read
    if is_q:
        tl.store(x + at, value, mask=inside)
    else:
        block = tl.load(table + tl.load(sequences + token) * table_width + tl.maximum(position, 0) // BLOCK)
        kept = (first_block + block).to(tl.int64) * BLOCK + position % BLOCK
        kept = kept * KV_HEADS + kv_head
        k_size = tl.where(is_k & (position >= 0), SIZE, 0)
        v_size = tl.where(is_v & (position >= 0), SIZE, 0)
        if INT8:
            largest = tl.maximum(tl.max(tl.abs(value), axis=0), 1e-30)
            value = (value * tl.div_rn(127.0, largest) + HALF_EVEN) - HALF_EVEN
            scale = tl.div_rn(largest, 127.0)
            tl.store(key_scales + kept, scale, mask=k_size > 0)
            tl.store(value_scales + kept, scale, mask=v_size > 0)
        place = kept * SIZE + at
        tl.store(keys + place, value.to(keys.dtype.element_ty), mask=at < k_size)
        tl.store(values + place, value.to(values.dtype.element_ty), mask=at < v_size)


@triton.jit
def attention_kernel(
    q,
    keys,
    values,
    key_scales,
    value_scales,
    positions,
    sequences,
    table,
    out,
    parts,
    first_block,
    table_width,
    q_stride,
    out_stride,
    scale,
    window,
    HEADS: tl.constexpr,
    KV_HEADS: tl.constexpr,
    SIZE: tl.constexpr,
    INT8: tl.constexpr,
    SPLITS: tl.constexpr,
    WIDTH: tl.constexpr,
):
    """One query head of a token, and one of SPLITS parts of the blocks that it sees, a program; softmax as in arXiv
    1805.02867. `window`: how many positions it sees; 0: all up to its own.

    With one part `out` is the result; else `parts` float32 [tokens, HEADS, SPLITS, SIZE + 2] has of each part the sum
    of weighted values, the largest score and the sum of weights, for `merge_kernel`.
    """
    token = tl.program_id(0).to(tl.int64)
    head = tl.program_id(1)
    split = tl.program_id(2)
    kv_head = head // (HEADS // KV_HEADS)
    position = tl.load(positions + token)
    blocks = table + tl.load(sequences + token) * table_width
    at, row = tl.arange(0, WIDTH), tl.arange(0, BLOCK)
    inside = at < SIZE
    query = tl.load(q + token * q_stride + head * SIZE + at, mask=inside, other=0.0)
    first = tl.where(window > 0, tl.maximum(position + 1 - window, 0), 0)
    count = position // BLOCK + 1 - first // BLOCK
    count = tl.where(position < 0, 0, count)
    share = (count + SPLITS - 1) // SPLITS
    begin = first // BLOCK + split * share
    end = tl.minimum(begin + share, first // BLOCK + count)
    largest = tl.full((), float("-inf"), dtype=tl.float32)
    weights = tl.zeros((), dtype=tl.float32)
    total = tl.zeros((WIDTH,), dtype=tl.float32)
    for number in range(begin, end):
        block = (first_block + tl.load(blocks + number)).to(tl.int64)
        kept = (block * BLOCK + row) * KV_HEADS + kv_head
        place = kept[:, None] * SIZE + at[None, :]
        seen = (number * BLOCK + row >= first) & (number * BLOCK + row <= position)
        mask = seen[:, None] & inside[None, :]
        key = tl.load(keys + place, mask=mask, other=0).to(tl.float32)
        value = tl.load(values + place, mask=mask, other=0).to(tl.float32)
        if INT8:
            key *= tl.load(key_scales + kept, mask=seen, other=0.0)[:, None]
            value *= tl.load(value_scales + kept, mask=seen, other=0.0)[:, None]
        score = tl.where(seen, tl.sum(key * query[None, :], axis=1) * scale, float("-inf"))
        highest = tl.maximum(largest, tl.max(score, axis=0))
        shrink = tl.exp(largest - highest)
        weight = tl.exp(score - highest)
        weights = weights * shrink + tl.sum(weight, axis=0)
        total = total * shrink + tl.sum(weight[:, None] * value, axis=0)
        largest = highest
    if SPLITS == 1:
        tl.store(out + token * out_stride + head * SIZE + at, total / tl.maximum(weights, 1e-30), mask=inside)
    else:
        part = parts + ((token * HEADS + head) * SPLITS + split) * (SIZE + 2)
        tl.store(part + at, total, mask=inside)
        tl.store(part + SIZE, largest)
        tl.store(part + SIZE + 1, weights)


@triton.jit
def merge_kernel(
    parts, out, out_stride, HEADS: tl.constexpr, SIZE: tl.constexpr, SPLITS: tl.constexpr, WIDTH: tl.constexpr
):
    """A head of a token a program: its parts, weighted by their largest scores."""
    token = tl.program_id(0).to(tl.int64)
    head = tl.program_id(1)
    at = tl.arange(0, WIDTH)
    part = parts + (token * HEADS + head) * SPLITS * (SIZE + 2)
    split = tl.arange(0, SPLITS)
    largest = tl.load(part + split * (SIZE + 2) + SIZE)
    highest = tl.maximum(tl.max(largest, axis=0), -1e30)
    shrink = tl.exp(largest - highest)
    weights = tl.sum(shrink * tl.load(part + split * (SIZE + 2) + SIZE + 1), axis=0)
    rows = tl.load(part + split[:, None] * (SIZE + 2) + at[None, :], mask=(at < SIZE)[None, :], other=0.0)
    total = tl.sum(rows * shrink[:, None], axis=0)
    tl.store(out + token * out_stride + head * SIZE + at, total / tl.maximum(weights, 1e-30), mask=at < SIZE)

"""Operations on whole rows, a row of a token for each program: activations, norms, quantising, and rotations."""

from __future__ import annotations

import triton
import triton.language as tl

HALF_EVEN = tl.constexpr(12582912.0)  # 1.5 · 2^23: adding and subtracting it rounds numbers below 2^22, half to even


@triton.jit
def activated(x, ACTIVATION: tl.constexpr):
    """f(x), as `Gated` says; the tanh form of GELU is x · sigmoid(2 y)."""
    if ACTIVATION == "relu2":
        positive = tl.maximum(x, 0.0)
        return positive * positive
    if ACTIVATION == "silu":
        return tl.div_rn(x, 1.0 + tl.exp(-x))
    if ACTIVATION == "sigmoid":
        return tl.div_rn(1.0, 1.0 + tl.exp(-x))
    return tl.div_rn(x, 1.0 + tl.exp(-1.5957691216057308 * (x + 0.044715 * x * x * x)))


@triton.jit
def normed(x, weight, at, inside, columns, eps):
    """RMSNorm of a row. The mean is taken in float64, so that its float32 value does not depend on the order of the
    sum."""
    wide = x.to(tl.float64)
    mean = (tl.sum(wide * wide, axis=0) / columns).to(tl.float32)
    root = tl.div_rn(1.0, tl.sqrt_rn(mean + eps))
    return x * root * tl.load(weight + at, mask=inside, other=0.0)


@triton.jit
def row_kernel(
    x,
    up,
    weight,
    out,
    codes,
    steps,
    sums,
    columns,
    padded,
    x_stride,
    up_stride,
    out_stride,
    step_stride,
    eps,
    ACTIVATION: tl.constexpr,
    NORM: tl.constexpr,
    PLANES: tl.constexpr,
    GROUP: tl.constexpr,
    WIDTH: tl.constexpr,
):
    """out = x, activated and times `up` (ACTIVATION, or ""), normed (NORM), and its whole numbers (PLANES; 0: none).

    Whole numbers are int8, or, in two planes, int15, as `Linear` quantises: codes int8 [tokens, PLANES, padded], the
    steps by which numbers were multiplied, one for the row or one for each GROUP columns (`steps` [tokens,
    step_stride]), and the sums of each 32 columns, int32 [tokens, padded / 32].
    """
    token = tl.program_id(0).to(tl.int64)
    at = tl.arange(0, WIDTH)
    inside = at < columns
    value = tl.load(x + token * x_stride + at, mask=inside, other=0.0)
    if ACTIVATION != "":
        value = activated(value, ACTIVATION) * tl.load(up + token * up_stride + at, mask=inside, other=0.0)
    if NORM:
        value = normed(value, weight, at, inside, columns, eps)
    tl.store(out + token * out_stride + at, value, mask=inside)
    if PLANES > 0:
        LIMIT: tl.constexpr = 16256.0 if PLANES == 2 else 127.0
        LEAST: tl.constexpr = -16256.0 if PLANES == 2 else -128.0
        if GROUP > 0:
            groups = tl.reshape(value, (WIDTH // GROUP, GROUP))
            group = tl.arange(0, WIDTH // GROUP)
            step = tl.div_rn(LIMIT, tl.maximum(tl.max(tl.abs(groups), axis=1), 1e-5))
            tl.store(steps + token * step_stride + group, step, mask=group < columns // GROUP)
            scaled = tl.reshape(groups * step[:, None], (WIDTH,))
        else:
            step = tl.div_rn(LIMIT, tl.maximum(tl.max(tl.abs(value), axis=0), 1e-5))
            tl.store(steps + token * step_stride, step)
            scaled = value * step
        rounded = (scaled + HALF_EVEN) - HALF_EVEN
        q = tl.minimum(tl.maximum(rounded, LEAST), LIMIT).to(tl.int32)
        place = codes + token * PLANES * padded + at
        if PLANES == 2:
            high = (q + 64) >> 7
            tl.store(place + padded, high.to(tl.int8), mask=at < padded)
            tl.store(place, (q - 128 * high).to(tl.int8), mask=at < padded)
        else:
            tl.store(place, q.to(tl.int8), mask=at < padded)
        run = tl.arange(0, WIDTH // 32)
        sum = tl.sum(tl.reshape(q, (WIDTH // 32, 32)), axis=1)
        tl.store(sums + token * (padded // 32) + run, sum, mask=run < padded // 32)


@triton.jit
def norm_add_kernel(x, weight, out, columns, x_stride, out_stride, eps, WIDTH: tl.constexpr):
    """out += norm(x)."""
    token = tl.program_id(0).to(tl.int64)
    at = tl.arange(0, WIDTH)
    inside = at < columns
    value = normed(tl.load(x + token * x_stride + at, mask=inside, other=0.0), weight, at, inside, columns, eps)
    place = out + token * out_stride + at
    tl.store(place, tl.load(place, mask=inside, other=0.0) + value, mask=inside)


@triton.jit
def hadamard_kernel(
    x,
    signs,
    out,
    x_stride,
    out_stride,
    normalizer,
    SIGNS: tl.constexpr,
    FORWARD: tl.constexpr,
    BLOCK: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """ROWS columns of one block of a token a program, as the matrix says (`operations.Hadamard`): x · H, its elements
    1 and -1 by the parity of the common bits. `signs` float32 [width]."""
    token = tl.program_id(0).to(tl.int64)
    first = tl.program_id(1) * ROWS
    block = first // BLOCK * BLOCK
    row = first + tl.arange(0, ROWS)
    total = tl.zeros((ROWS,), dtype=tl.float32)
    for start in range(0, BLOCK, COLUMNS):
        column = block + start + tl.arange(0, COLUMNS)
        value = tl.load(x + token * x_stride + column)
        if SIGNS and FORWARD:
            value *= tl.load(signs + column)
        bits = (row - block)[:, None] & (column - block)[None, :]
        bits = bits ^ (bits >> 8)
        bits = bits ^ (bits >> 4)
        bits = bits ^ (bits >> 2)
        bits = (bits ^ (bits >> 1)) & 1
        total += tl.sum(tl.where(bits == 1, -value[None, :], value[None, :]), axis=1)
    total *= normalizer
    if SIGNS and not FORWARD:
        total *= tl.load(signs + row)
    tl.store(out + token * out_stride + row, total)


@triton.jit
def rotate_kernel(x, other, cosines, sines, out, columns, x_stride, out_stride, WIDTH: tl.constexpr):
    """One rotation of pairs of columns: out[c] = cosines[c] · x[c] + sines[c] · x[other[c]], float32 and int32
    [columns] (`operations.Rotate`)."""
    token = tl.program_id(0).to(tl.int64)
    at = tl.program_id(1) * WIDTH + tl.arange(0, WIDTH)
    inside = at < columns
    partner = tl.load(other + at, mask=inside, other=0)
    value = tl.load(x + token * x_stride + at, mask=inside, other=0.0)
    value = value * tl.load(cosines + at, mask=inside, other=0.0)
    value += tl.load(sines + at, mask=inside, other=0.0) * tl.load(
        x + token * x_stride + partner, mask=inside, other=0.0
    )
    tl.store(out + token * out_stride + at, value, mask=inside)

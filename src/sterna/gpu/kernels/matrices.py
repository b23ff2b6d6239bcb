"""Matrices of signed bytes, INT4 codes and floats times rows, and single rows of any matrix."""

from __future__ import annotations

import triton
import triton.language as tl

from sterna.gpu.kernels.store import store_products


@triton.jit
def bytes_kernel(
    weights,
    scales,
    codes,
    steps,
    bias,
    out,
    tokens,
    rows,
    columns,
    padded,
    out_stride,
    GROUP: tl.constexpr,
    PLANES: tl.constexpr,
    RESIDUAL: tl.constexpr,
    BIAS: tl.constexpr,
    ROWS: tl.constexpr,
    TOKENS: tl.constexpr,
):
    """out [tokens, rows], a tile of TOKENS · ROWS a program, from weights int8 [rows, columns] whose GROUP columns, 16
    or 32, share a scale (`scales` [rows, columns / GROUP]), and codes int8 [tokens, PLANES, padded] with `steps`
    [tokens], as in `ternary_kernel`."""
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    token = tl.program_id(1) * TOKENS + tl.arange(0, TOKENS)
    row_inside, token_inside = row < rows, token < tokens
    k = tl.arange(0, 32)
    row_codes = weights + row.to(tl.int64)[None, :] * columns + k[:, None]
    token_codes = codes + token.to(tl.int64)[:, None] * (PLANES * padded) + k[None, :]
    row_scales = scales + row.to(tl.int64) * (columns // GROUP)
    total = tl.zeros((TOKENS, ROWS), dtype=tl.float32)
    for at in range(0, columns, 32):
        w = tl.load(row_codes + at, mask=row_inside[None, :], other=0)
        for half in tl.static_range(32 // GROUP):
            whole = tl.zeros((TOKENS, ROWS), dtype=tl.int32)
            for plane in tl.static_range(PLANES):
                high = PLANES - 1 - plane
                inside = token_inside[:, None] & (k // GROUP == half)[None, :]
                q = tl.load(token_codes + high * padded + at, mask=inside, other=0)
                whole = tl.dot(q, w, acc=whole * 128, out_dtype=tl.int32)
            scale = tl.load(row_scales + at // GROUP + half, mask=row_inside, other=0.0)
            total += whole.to(tl.float32) * scale[None, :]
    total = total * tl.div_rn(1.0, tl.load(steps + token, mask=token_inside, other=1.0))[:, None]
    store_products(total, bias, out, token, row, tokens, rows, out_stride, RESIDUAL, BIAS)


@triton.jit
def scaled_group(whole, sum, scale, zero, step, PLANES: tl.constexpr):
    """A group's share of the results: whole sums of fields [tokens, rows] less the zero points, and scaled."""
    if PLANES == 2:  # whose sums may be larger than float32 holds exactly
        exact = whole.to(tl.float64) - zero.to(tl.float64)[None, :] * sum.to(tl.float64)[:, None]
        return exact.to(tl.float32) * (scale[None, :] * step[:, None])
    return (whole.to(tl.float32) - zero[None, :] * sum.to(tl.float32)[:, None]) * (scale[None, :] * step[:, None])


@triton.jit
def int4_kernel(
    weights,
    scales,
    zeros,
    codes,
    steps,
    sums,
    bias,
    out,
    tokens,
    rows,
    columns,
    padded,
    step_stride,
    out_stride,
    GROUP: tl.constexpr,
    STEP_GROUPS: tl.constexpr,
    PLANES: tl.constexpr,
    RESIDUAL: tl.constexpr,
    BIAS: tl.constexpr,
    ROWS: tl.constexpr,
    TOKENS: tl.constexpr,
):
    """out [tokens, rows], a tile of TOKENS · ROWS a program: the sum over groups of (field - zero point) · code, times
    the group's scale (`scales` and `zeros` [rows, columns / GROUP]) and divided by its step.

    Bytes of `weights` [rows, columns / 2] hold, for 64 columns at a time, the columns j and 32 + j. Codes int8 [tokens,
    PLANES, padded] have their sums of 32 columns in `sums` int32 [tokens, padded / 32], and a step for each group
    (STEP_GROUPS: `steps` [tokens, step_stride]), or one for all.
    """
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    token = tl.program_id(1) * TOKENS + tl.arange(0, TOKENS)
    row_inside, token_inside = row < rows, token < tokens
    SPAN: tl.constexpr = GROUP if GROUP > 64 else 64
    k = tl.arange(0, 32)
    row_bytes = weights + row.to(tl.int64)[None, :] * (columns // 2) + k[:, None]
    token_codes = codes + token.to(tl.int64)[:, None] * (PLANES * padded) + k[None, :]
    token_sums = sums + token * (padded // 32)
    groups = columns // GROUP
    row_groups = row.to(tl.int64) * groups
    inverse = tl.div_rn(1.0, tl.load(steps + token * step_stride, mask=token_inside, other=1.0))
    one = tl.full((TOKENS,), 1.0, dtype=tl.float32)
    total = tl.zeros((TOKENS, ROWS), dtype=tl.float32)
    for first in range(0, columns, SPAN):
        low = tl.zeros((TOKENS, ROWS), dtype=tl.int32)
        high = tl.zeros((TOKENS, ROWS), dtype=tl.int32)
        low_sum = tl.zeros((TOKENS,), dtype=tl.int32)
        high_sum = tl.zeros((TOKENS,), dtype=tl.int32)
        for part in tl.static_range(SPAN // 64):
            at = first + 64 * part
            packed = tl.load(row_bytes + at // 2, mask=row_inside[None, :], other=0)
            for plane in tl.static_range(PLANES):
                q = token_codes + (PLANES - 1 - plane) * padded + at
                q0 = tl.load(q, mask=token_inside[:, None], other=0)
                q1 = tl.load(q + 32, mask=token_inside[:, None], other=0)
                # The top bits are a signed byte's: flipped there, fields become 16 · (field - 8).
                flipped = ((packed & 0xF0) ^ 0x80).to(tl.int8, bitcast=True)
                first_part = tl.dot(q0, (packed & 0x0F).to(tl.int8, bitcast=True), out_dtype=tl.int32)
                second_part = tl.dot(q1, flipped, out_dtype=tl.int32) >> 4
                if plane < PLANES - 1:  # the plane of the higher digits
                    first_part *= 128
                    second_part *= 128
                low += first_part
                high += second_part
            low_sum += tl.load(token_sums + at // 32, mask=token_inside, other=0)
            high_sum += tl.load(token_sums + at // 32 + 1, mask=token_inside, other=0)
        high += 8 * high_sum[:, None]
        group = first // GROUP
        step = one
        if STEP_GROUPS:
            step = tl.div_rn(1.0, tl.load(steps + token * step_stride + group, mask=token_inside, other=1.0))
        scale = tl.load(scales + row_groups + group, mask=row_inside, other=0.0)
        zero = tl.load(zeros + row_groups + group, mask=row_inside, other=0.0)
        if GROUP == 32:
            total += scaled_group(low, low_sum, scale, zero, step, PLANES)
            inside = row_inside & (row * 0 + group + 1 < groups)
            scale = tl.load(scales + row_groups + group + 1, mask=inside, other=0.0)
            zero = tl.load(zeros + row_groups + group + 1, mask=inside, other=0.0)
            if STEP_GROUPS:
                step = tl.div_rn(1.0, tl.load(steps + token * step_stride + group + 1, mask=token_inside, other=1.0))
            total += scaled_group(high, high_sum, scale, zero, step, PLANES)
        else:
            total += scaled_group(low + high, low_sum + high_sum, scale, zero, step, PLANES)
    if not STEP_GROUPS:
        total = total * inverse[:, None]
    store_products(total, bias, out, token, row, tokens, rows, out_stride, RESIDUAL, BIAS)


@triton.jit
def float_kernel(
    weights,
    x,
    bias,
    out,
    tokens,
    rows,
    columns,
    x_stride,
    out_stride,
    RESIDUAL: tl.constexpr,
    BIAS: tl.constexpr,
    ROWS: tl.constexpr,
    TOKENS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """out [tokens, rows] = x [tokens, columns] · weightsᵀ, float32 or float16 [rows, columns], in float32: a tile of
    TOKENS · ROWS a program, COLUMNS at a time."""
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    token = tl.program_id(1) * TOKENS + tl.arange(0, TOKENS)
    row_inside, token_inside = row < rows, token < tokens
    k = tl.arange(0, COLUMNS)
    total = tl.zeros((TOKENS, ROWS), dtype=tl.float32)
    single = tl.zeros((ROWS, COLUMNS), dtype=tl.float32)
    for first in range(0, columns, COLUMNS):
        column = first + k
        inside = row_inside[:, None] & (column < columns)[None, :]
        w = tl.load(weights + row.to(tl.int64)[:, None] * columns + column[None, :], mask=inside, other=0.0)
        seen = token_inside[:, None] & (column < columns)[None, :]
        value = tl.load(x + token.to(tl.int64)[:, None] * x_stride + column[None, :], mask=seen, other=0.0)
        if TOKENS == 1:
            single += w.to(tl.float32) * value
        else:
            total = tl.dot(value, tl.trans(w.to(tl.float32)), acc=total, input_precision="ieee")
    if TOKENS == 1:
        total = tl.sum(single, axis=1)[None, :]
    store_products(total, bias, out, token, row, tokens, rows, out_stride, RESIDUAL, BIAS)


@triton.jit
def embed_kernel(
    ids,
    weights,
    scales,
    zeros,
    out,
    width,
    columns,
    out_stride,
    factor,
    KIND: tl.constexpr,
    GROUP: tl.constexpr,
    WIDTH: tl.constexpr,
):
    """out[t] = factor · the first `width` values of row ids[t] (int32) of a matrix with rows of `columns` columns, a
    token and WIDTH columns a program."""
    token = tl.program_id(0).to(tl.int64)
    column = tl.program_id(1) * WIDTH + tl.arange(0, WIDTH)
    inside = column < width
    row = tl.load(ids + token).to(tl.int64)
    if KIND == "ternary":
        byte = tl.load(weights + row * (columns // 4) + column // 128 * 32 + column % 32, mask=inside, other=0)
        value = (((byte >> (6 - column // 32 % 4 * 2).to(tl.uint8)) & 3).to(tl.int32) - 1).to(tl.float32)
    elif KIND == "int4":
        byte = tl.load(weights + row * (columns // 2) + column // 64 * 32 + column % 32, mask=inside, other=0)
        value = ((byte >> (column // 32 % 2 * 4).to(tl.uint8)) & 15).to(tl.float32)
        value -= tl.load(zeros + row * (columns // GROUP) + column // GROUP, mask=inside, other=0.0)
    else:
        value = tl.load(weights + row * columns + column, mask=inside, other=0).to(tl.float32)
    if KIND != "float":
        groups = columns // GROUP if GROUP > 0 else 1
        group = column // GROUP if GROUP > 0 else column * 0
        value *= tl.load(scales + row * groups + group, mask=inside, other=0.0)
    tl.store(out + token * out_stride + column, value * factor, mask=inside)

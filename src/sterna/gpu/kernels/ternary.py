"""Matrices of ternary codes times rows of whole numbers.

A row of a matrix is blocks of 128 columns in 32 bytes (I2_S): byte j has, at the bits 6, 4, 2 and 0, the fields
(code + 1) of the columns j, 32 + j, 64 + j and 96 + j. A field needs no shift to be multiplied: masked where it lies it
is a whole number times 64, 16, 4 or 1, and so is the exact sum, which is divided once. `sums` has the sums of each 32
columns of the rows, by which fields become codes.
"""

from __future__ import annotations

import triton
import triton.language as tl

from sterna.gpu.kernels.store import store_products


@triton.jit
def ternary_kernel(
    weights,
    scales,
    codes,
    steps,
    sums,
    bias,
    out,
    tokens,
    rows,
    columns,
    span,
    out_stride,
    GROUP: tl.constexpr,
    PLANES: tl.constexpr,
    BLOCKS: tl.constexpr,
    RESIDUAL: tl.constexpr,
    BIAS: tl.constexpr,
    ROWS: tl.constexpr,
    TOKENS: tl.constexpr,
):
    """out [tokens, rows], a tile of TOKENS · ROWS a program, from weights uint8 [rows, columns / 4], codes int8
    [tokens, PLANES, columns] and sums int32 [tokens, columns / 32].

    `span` columns share a scale; GROUP is 0 where that is the whole row (`scales` [rows]), else they share GROUP
    columns (`scales` [rows, columns / GROUP]), and a span is a group, but no less than a block. `steps` [tokens] are
    what the codes were multiplied with. With two planes a whole number is 128 times its code in the second, plus that
    in the first. BLOCKS blocks of a span are multiplied at a time.
    """
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    token = tl.program_id(1) * TOKENS + tl.arange(0, TOKENS)
    row_inside, token_inside = (row < rows)[None, :], token < tokens
    byte = tl.arange(0, 32 * BLOCKS)
    column = byte // 32 * 128 + byte % 32
    row_bytes = weights + row.to(tl.int64)[None, :] * (columns // 4) + byte[:, None]
    token_codes = codes + token.to(tl.int64)[:, None] * (PLANES * columns) + column[None, :]
    token_sums = sums + token * (columns // 32)
    row_scales = scales + row.to(tl.int64) * (columns // span)
    if GROUP > 0 and GROUP < 128:
        row_scales = scales + row.to(tl.int64) * (columns // GROUP)
    total = tl.zeros((TOKENS, ROWS), dtype=tl.float32)
    whole = tl.zeros((TOKENS, ROWS), dtype=tl.int32)
    for first in range(0, columns, span):
        sum0 = tl.zeros((TOKENS, ROWS), dtype=tl.int32)
        sum1 = tl.zeros((TOKENS, ROWS), dtype=tl.int32)
        sum2 = tl.zeros((TOKENS, ROWS), dtype=tl.int32)
        sum3 = tl.zeros((TOKENS, ROWS), dtype=tl.int32)
        for plane in tl.static_range(PLANES):
            high = PLANES - 1 - plane
            part0 = tl.zeros((TOKENS, ROWS), dtype=tl.int32)
            part1 = tl.zeros((TOKENS, ROWS), dtype=tl.int32)
            part2 = tl.zeros((TOKENS, ROWS), dtype=tl.int32)
            part3 = tl.zeros((TOKENS, ROWS), dtype=tl.int32)
            for at in range(first, first + span, 128 * BLOCKS):
                packed = tl.load(row_bytes + at // 4, mask=row_inside, other=0)
                q = token_codes + high * columns + at
                q0 = tl.load(q, mask=token_inside[:, None], other=0)
                q1 = tl.load(q + 32, mask=token_inside[:, None], other=0)
                q2 = tl.load(q + 64, mask=token_inside[:, None], other=0)
                q3 = tl.load(q + 96, mask=token_inside[:, None], other=0)
                # The top bits are a signed byte's: flipped there, fields become 64 · (field - 2).
                part0 = tl.dot(q0, ((packed & 0xC0) ^ 0x80).to(tl.int8, bitcast=True), acc=part0, out_dtype=tl.int32)
                part1 = tl.dot(q1, (packed & 0x30).to(tl.int8, bitcast=True), acc=part1, out_dtype=tl.int32)
                part2 = tl.dot(q2, (packed & 0x0C).to(tl.int8, bitcast=True), acc=part2, out_dtype=tl.int32)
                part3 = tl.dot(q3, (packed & 0x03).to(tl.int8, bitcast=True), acc=part3, out_dtype=tl.int32)
            sum0 = sum0 * 128 + (part0 >> 6)
            sum1 = sum1 * 128 + (part1 >> 4)
            sum2 = sum2 * 128 + (part2 >> 2)
            sum3 = sum3 * 128 + part3
        run0 = tl.zeros((TOKENS,), dtype=tl.int32)
        run1 = tl.zeros((TOKENS,), dtype=tl.int32)
        run2 = tl.zeros((TOKENS,), dtype=tl.int32)
        run3 = tl.zeros((TOKENS,), dtype=tl.int32)
        for at in range(first // 32, (first + span) // 32, 4):
            run0 += tl.load(token_sums + at, mask=token_inside, other=0)
            run1 += tl.load(token_sums + at + 1, mask=token_inside, other=0)
            run2 += tl.load(token_sums + at + 2, mask=token_inside, other=0)
            run3 += tl.load(token_sums + at + 3, mask=token_inside, other=0)
        sum0 += run0[:, None]
        sum1 -= run1[:, None]
        sum2 -= run2[:, None]
        sum3 -= run3[:, None]
        if GROUP == 0:
            whole = sum0 + sum1 + sum2 + sum3
        elif GROUP == 32:
            scale = row_scales + first // 32
            total += sum0.to(tl.float32) * tl.load(scale, mask=row < rows, other=0.0)[None, :]
            total += sum1.to(tl.float32) * tl.load(scale + 1, mask=row < rows, other=0.0)[None, :]
            total += sum2.to(tl.float32) * tl.load(scale + 2, mask=row < rows, other=0.0)[None, :]
            total += sum3.to(tl.float32) * tl.load(scale + 3, mask=row < rows, other=0.0)[None, :]
        elif GROUP == 64:
            scale = row_scales + first // 64
            total += (sum0 + sum1).to(tl.float32) * tl.load(scale, mask=row < rows, other=0.0)[None, :]
            total += (sum2 + sum3).to(tl.float32) * tl.load(scale + 1, mask=row < rows, other=0.0)[None, :]
        else:
            scale = tl.load(row_scales + first // span, mask=row < rows, other=0.0)
            total += (sum0 + sum1 + sum2 + sum3).to(tl.float32) * scale[None, :]
    step = tl.load(steps + token, mask=token_inside, other=1.0)
    if GROUP == 0:
        scale = tl.load(row_scales, mask=row < rows, other=0.0)
        total = whole.to(tl.float32) * tl.div_rn(scale[None, :], step[:, None])
    else:
        total = total * tl.div_rn(1.0, step)[:, None]
    store_products(total, bias, out, token, row, tokens, rows, out_stride, RESIDUAL, BIAS)


@triton.jit
def byte_products(a, b, total, BITS: tl.constexpr, INTERPRETED: tl.constexpr):
    """total + the sum of the four products of the bytes of int32 words: fields of two bits of a, BITS up, and signed
    bytes of b. Two instructions; the interpreter has none of them."""
    if INTERPRETED:
        for byte in tl.static_range(4):
            field = (a >> (8 * byte + BITS)) & 3
            total += field * ((b << (24 - 8 * byte)) >> 24) * (1 << BITS)
        return total
    return tl.inline_asm_elementwise(
        "dp4a.u32.s32 $0, $1, $2, $3;",
        "=r,r,r,r",
        [a & (0x03030303 << BITS), b, total],
        dtype=tl.int32,
        is_pure=True,
        pack=1,
    )


@triton.jit
def ternary_row_kernel(
    weights,
    scales,
    codes,
    steps,
    sums,
    bias,
    out,
    rows,
    columns,
    RESIDUAL: tl.constexpr,
    BIAS: tl.constexpr,
    INTERPRETED: tl.constexpr,
    ROWS: tl.constexpr,
    WORDS: tl.constexpr,
):
    """What `ternary_kernel` computes for one token with one plane, and one scale a row. Tensor cores would compute 16
    tokens for it; the products of four bytes take half an instruction a weight. Weights and codes are int32 words."""
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    word = tl.arange(0, WORDS)
    words = columns // 16
    row_words = weights + row.to(tl.int64)[:, None] * words
    part0 = tl.zeros((ROWS, WORDS), dtype=tl.int32)
    part1 = tl.zeros((ROWS, WORDS), dtype=tl.int32)
    part2 = tl.zeros((ROWS, WORDS), dtype=tl.int32)
    part3 = tl.zeros((ROWS, WORDS), dtype=tl.int32)
    balance = tl.zeros((WORDS,), dtype=tl.int32)
    for first in range(0, words, WORDS):
        at = first + word
        inside = at < words
        packed = tl.load(row_words + at[None, :], mask=(row < rows)[:, None] & inside[None, :], other=0)
        q = codes + at // 8 * 32 + at % 8
        q0 = tl.load(q, mask=inside, other=0)[None, :]
        q1 = tl.load(q + 8, mask=inside, other=0)[None, :]
        q2 = tl.load(q + 16, mask=inside, other=0)[None, :]
        q3 = tl.load(q + 24, mask=inside, other=0)[None, :]
        part0 = byte_products((packed >> 6) & 0x03030303, q0, part0, 0, INTERPRETED)
        part1 = byte_products(packed, q1, part1, 4, INTERPRETED)
        part2 = byte_products(packed, q2, part2, 2, INTERPRETED)
        part3 = byte_products(packed, q3, part3, 0, INTERPRETED)
        # Each block of eight words has four sums of 32 columns.
        balance += tl.load(sums + at // 2, mask=inside & (at % 2 == 0), other=0)
    whole = tl.sum(part0 + (part1 >> 4) + (part2 >> 2) + part3, axis=1) - tl.sum(balance, axis=0)
    total = whole.to(tl.float32) * tl.div_rn(tl.load(scales + row, mask=row < rows, other=0.0), tl.load(steps))
    store_products(total[None, :], bias, out, tl.arange(0, 1), row, 1, rows, 0, RESIDUAL, BIAS)

"""Triton kernels that multiply matrices: int8 codes exactly, gradients in bfloat16 with float32 sums."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from sterna.gpu.device import interpreted
from sterna.gpu.launch import launch

TILE, DEPTH = 64, 32
"""Rows and columns of the results of a program, and how many terms it adds at a time."""


@triton.jit
def codes_kernel(x, weight, scales, beta, y, rows, columns, depth, TILE: tl.constexpr, DEPTH: tl.constexpr):
    """y [rows, columns] = (x [rows, depth] · weightᵀ [columns, depth]) · beta / scales [rows], from int8 codes."""
    row = tl.program_id(0).to(tl.int64) * TILE + tl.arange(0, TILE)
    column = tl.program_id(1).to(tl.int64) * TILE + tl.arange(0, TILE)
    total = tl.zeros((TILE, TILE), dtype=tl.int32)
    for first in range(0, depth, DEPTH):
        k = first + tl.arange(0, DEPTH)
        a_inside = (row < rows)[:, None] & (k < depth)[None, :]
        b_inside = (k < depth)[:, None] & (column < columns)[None, :]
        a = tl.load(x + row[:, None] * depth + k[None, :], mask=a_inside, other=0)
        b = tl.load(weight + column[None, :] * depth + k[:, None], mask=b_inside, other=0)
        total = tl.dot(a, b, acc=total, out_dtype=tl.int32)
    factor = tl.div_rn(tl.load(beta), tl.load(scales + row, mask=row < rows, other=1.0))
    inside = (row < rows)[:, None] & (column < columns)[None, :]
    tl.store(y + row[:, None] * columns + column[None, :], total.to(tl.float32) * factor[:, None], mask=inside)


@triton.jit
def gradient_kernel(
    a,
    a_row,
    a_k,
    b,
    divisors,
    factor,
    out,
    rows,
    columns,
    depth,
    DIVIDES: tl.constexpr,
    INTERPRETED: tl.constexpr,
    TILE: tl.constexpr,
    DEPTH: tl.constexpr,
):
    """out [rows, columns] = a [rows, depth] · b [depth, columns], a with strides, b of int8 codes.

    With DIVIDES, term k is divided by divisors[k]; without, the sum is multiplied by the scalar `factor`.
    """
    row = tl.program_id(0).to(tl.int64) * TILE + tl.arange(0, TILE)
    column = tl.program_id(1).to(tl.int64) * TILE + tl.arange(0, TILE)
    total = tl.zeros((TILE, TILE), dtype=tl.float32)
    for first in range(0, depth, DEPTH):
        k = (first + tl.arange(0, DEPTH)).to(tl.int64)
        a_inside = (row < rows)[:, None] & (k < depth)[None, :]
        b_inside = (k < depth)[:, None] & (column < columns)[None, :]
        left = tl.load(a + row[:, None] * a_row + k[None, :] * a_k, mask=a_inside, other=0.0).to(tl.float32)
        if DIVIDES:
            left = left / tl.load(divisors + k, mask=k < depth, other=1.0)[None, :]
        left = left.to(tl.bfloat16)
        right = tl.load(b + k[:, None] * columns + column[None, :], mask=b_inside, other=0).to(tl.float32)
        if INTERPRETED:  # Triton's interpreter multiplies the bits of bfloat16 as if they were integers.
            total = tl.dot(left.to(tl.float32), right, acc=total)
        else:
            total = tl.dot(left, right.to(tl.bfloat16), acc=total)
    if not DIVIDES:
        total = total * tl.load(factor)
    inside = (row < rows)[:, None] & (column < columns)[None, :]
    tl.store(out + row[:, None] * columns + column[None, :], total, mask=inside)


def _grid(rows: int, columns: int) -> tuple[int, int]:
    return triton.cdiv(rows, TILE), triton.cdiv(columns, TILE)


def multiply_codes(x: Tensor, scales: Tensor, weight: Tensor, beta: Tensor) -> Tensor:
    """(x · weightᵀ) · beta / scales, whose integer sums are exact: x int8 [tokens, in], scales float32 [tokens], weight
    int8 [out, in], beta a scalar -> float32 [tokens, out]."""
    tokens, depth = x.shape
    y = torch.empty(tokens, len(weight), dtype=torch.float32, device=x.device)
    launch(codes_kernel, _grid(*y.shape), x, weight, scales, beta, y, *y.shape, depth, TILE, DEPTH)
    return y


def input_gradient(upstream: Tensor, weight: Tensor, beta: Tensor) -> Tensor:
    """upstream [tokens, out] · (beta · weight), int8 [out, in] -> float32 [tokens, in]."""
    return _gradient(upstream, weight, beta, divides=False)


def weight_gradient(upstream: Tensor, x: Tensor, scales: Tensor) -> Tensor:
    """upstreamᵀ [out, tokens] · (x / scales), int8 [tokens, in] -> float32 [out, in]."""
    return _gradient(upstream.T, x, scales, divides=True)


def _gradient(a: Tensor, b: Tensor, factors: Tensor, divides: bool) -> Tensor:
    """The product that `gradient_kernel` computes; `factors`: its divisors, or its factor."""
    out = torch.empty(len(a), b.shape[1], dtype=torch.float32, device=a.device)
    launch(
        gradient_kernel, _grid(*out.shape),
        a, *a.stride(), b, factors, factors, out, *out.shape, len(b), divides, interpreted(), TILE, DEPTH,
    )  # fmt: skip
    return out

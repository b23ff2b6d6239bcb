"""Triton kernels that quantise: RMSNorm with absmax of each token in one pass, and absmean of a matrix."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from sterna.gpu.kernels.rows import HALF_EVEN
from sterna.gpu.launch import launch, warps_for

EPSILON = tl.constexpr(1e-5)
BLOCK = 4096


@triton.jit
def norm_absmax_kernel(x, weight, codes, scales, roots, columns, eps, WIDTH: tl.constexpr):
    """A token a program: codes int8 [tokens, columns], scales and reciprocal roots float32 [tokens]."""
    token = tl.program_id(0).to(tl.int64)
    at = tl.arange(0, WIDTH)
    inside = at < columns
    row = tl.load(x + token * columns + at, mask=inside, other=0.0).to(tl.float32)
    root = tl.div_rn(1.0, tl.sqrt_rn(tl.sum(row * row, axis=0) / columns + eps))
    normed = row * root * tl.load(weight + at, mask=inside, other=0.0)
    # torch computes 127 / x like this.
    scale = 127.0 * tl.div_rn(1.0, tl.maximum(tl.max(tl.abs(normed), axis=0), EPSILON))
    rounded = (normed * scale + HALF_EVEN) - HALF_EVEN
    tl.store(codes + token * columns + at, tl.minimum(tl.maximum(rounded, -128.0), 127.0).to(tl.int8), mask=inside)
    tl.store(scales + token, scale)
    tl.store(roots + token, root)


@triton.jit
def magnitude_kernel(values, sums, size, BLOCK: tl.constexpr):
    """The sum of magnitudes of each block of `values`: float32 [blocks]."""
    block = tl.program_id(0).to(tl.int64)
    at = block * BLOCK + tl.arange(0, BLOCK)
    magnitudes = tl.abs(tl.load(values + at, mask=at < size, other=0.0).to(tl.float32))
    tl.store(sums + block, tl.sum(magnitudes, axis=0))


@triton.jit
def ternary_kernel(values, scale, codes, size, BLOCK: tl.constexpr):
    """`clip(round(values / scale), -1, 1)` as int8 [size]; `scale` is a float32 scalar in memory."""
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = at < size
    ratio = tl.div_rn(tl.load(values + at, mask=inside, other=0.0).to(tl.float32), tl.load(scale))
    rounded = (tl.minimum(tl.maximum(ratio, -1.0), 1.0) + HALF_EVEN) - HALF_EVEN
    tl.store(codes + at, rounded.to(tl.int8), mask=inside)


def norm_absmax(x: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """RMSNorm, then int8 codes of each token: x [tokens, columns], weight float32 [columns] -> codes int8 [tokens,
    columns], their scales and the norm's 1/√(mean x² + eps), float32 [tokens] (arXiv 2402.17764, 1910.07467)."""
    tokens, columns = x.shape
    codes = torch.empty(tokens, columns, dtype=torch.int8, device=x.device)
    scales, roots = torch.empty(2, tokens, dtype=torch.float32, device=x.device)
    width = triton.next_power_of_2(columns)
    launch(
        norm_absmax_kernel, (tokens,),
        x.contiguous(), weight, codes, scales, roots, columns, eps, width, num_warps=warps_for(width),
    )  # fmt: skip
    return codes, scales, roots


def absmean(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Ternary codes int8 of the shape of `weight`, which is contiguous, and their scale, a float32 scalar
    (arXiv 2402.17764). Sums have a fixed order, so the same weights give the same bits."""
    size = weight.numel()
    blocks = triton.cdiv(size, BLOCK)
    sums = torch.empty(blocks, dtype=torch.float32, device=weight.device)
    codes = torch.empty_like(weight, dtype=torch.int8)
    launch(magnitude_kernel, (blocks,), weight, sums, size, BLOCK)
    scale = (sums.sum() / size).clamp(min=EPSILON.value)
    launch(ternary_kernel, (blocks,), weight, scale, codes, size, BLOCK)
    return codes, scale

"""The operations of a plan in torch, over the rows of several documents that lie one after the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

GATES: dict[str, Callable[[Tensor], Tensor]] = {
    "relu2": lambda x: F.relu(x).square(),
    "silu": F.silu,
    "sigmoid": torch.sigmoid,
    "gelu": lambda x: F.gelu(x, approximate="tanh"),
}
"""The functions of `sterna.model.operations.Gated` by name."""


def angles(lengths: Sequence[int], frequencies: Sequence[float]) -> tuple[Tensor, Tensor]:
    """Cosines and sines float32 [n, pairs] of the positions in documents of these lengths, each from 0 on."""
    positions = torch.cat([torch.arange(length, dtype=torch.float64) for length in lengths])
    product = torch.outer(positions, torch.tensor(frequencies, dtype=torch.float64))
    return product.cos().float(), product.sin().float()


def rope(x: Tensor, heads: int, style: str, cos: Tensor, sin: Tensor) -> Tensor:
    """`sterna.model.operations.Rope` of x [n, heads * head_dim] by cos and sin [n, pairs]."""
    turned: Tensor = _Rope.apply(x, heads, style, cos, sin)
    return turned


class _Rope(torch.autograd.Function):
    """A rotation; backward, one by the opposite angles."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, heads: int, style: str, cos: Tensor, sin: Tensor) -> Tensor:
        ctx.heads, ctx.style, ctx.angles = heads, style, (cos, sin)
        return _turned(x, heads, style, cos, sin)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None, None]:
        cos, sin = ctx.angles
        return _turned(gradients[0], ctx.heads, ctx.style, cos, -sin), None, None, None, None


def _turned(x: Tensor, heads: int, style: str, cos: Tensor, sin: Tensor) -> Tensor:
    pairs, (cos, sin) = cos.shape[-1], (cos[:, None], sin[:, None])
    half = style == "half"

    def parts(rows: Tensor) -> tuple[Tensor, Tensor]:
        rotated = rows.unflatten(-1, (heads, -1))[..., : 2 * pairs]
        return (rotated[..., :pairs], rotated[..., pairs:]) if half else (rotated[..., ::2], rotated[..., 1::2])

    out = x.clone()
    (a, b), (to_a, to_b) = parts(x), parts(out)
    torch.mul(a, cos, out=to_a).addcmul_(b, sin, value=-1)
    torch.mul(b, cos, out=to_b).addcmul_(a, sin)
    return out


def rms_norm(x: Tensor, weight: Tensor, eps: float, heads: int) -> Tensor:
    """`sterna.model.operations.Norm` of x [n, heads * width] by a weight [width] that is not trained."""
    normed: Tensor = _RmsNorm.apply(x, weight, eps, heads)
    return normed


class _RmsNorm(torch.autograd.Function):
    """y = w x r with r = 1 / sqrt(mean(x²) + eps); backward r (w g - x r² mean(w g x)). Only x and r are kept."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float, heads: int) -> Tensor:
        rows = x.unflatten(-1, (heads, -1))
        inverse = torch.linalg.vecdot(rows, rows).div_(rows.shape[-1]).add_(eps).rsqrt_()[..., None]
        ctx.save_for_backward(x, inverse)
        ctx.weight, ctx.heads = weight, heads
        return (rows * inverse).mul_(weight).flatten(-2)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        x, inverse = ctx.saved_tensors
        rows = x.unflatten(-1, (ctx.heads, -1))
        weighted = gradients[0].unflatten(-1, (ctx.heads, -1)) * ctx.weight
        along = torch.linalg.vecdot(weighted, rows)[..., None] * inverse.pow(3).div_(rows.shape[-1])
        return weighted.mul_(inverse).addcmul_(rows, along, value=-1).flatten(-2), None, None, None


def attention(
    q: Tensor, k: Tensor, v: Tensor, lengths: Sequence[int], head_dim: int, scale: float, window: int | None
) -> Tensor:
    """`sterna.model.operations.Attention` of q [n, heads * head_dim] and k, v [n, kv_heads * head_dim]: causal, and
    within each document alone."""

    def heads(rows: Tensor) -> Tensor:
        return rows.unflatten(-1, (-1, head_dim)).transpose(0, 1)[None]

    mixed = []
    documents = (heads(rows).split(list(lengths), dim=2) for rows in (q, k, v))
    for query, key, value in zip(*documents, strict=True):
        n = query.shape[2]
        mask = None if window is None or n <= window else _window_mask(n, window)
        out = F.scaled_dot_product_attention(
            query, key, value, attn_mask=mask, is_causal=mask is None, scale=scale, enable_gqa=True
        )
        mixed.append(out[0].transpose(0, 1).flatten(1))
    return torch.cat(mixed)


def _window_mask(n: int, window: int) -> Tensor:
    """Which keys each query sees, bool [n, n]: its own position, and up to `window - 1` before it."""
    seen = torch.ones(n, n, dtype=torch.bool)
    return seen.tril() & seen.triu(1 - window)

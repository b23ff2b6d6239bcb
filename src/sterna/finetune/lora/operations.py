"""The operations of a plan in torch, over the rows of several documents that lie one after the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence

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
    parts = x.unflatten(-1, (heads, -1))
    rotated, rest = parts[..., : 2 * cos.shape[-1]], parts[..., 2 * cos.shape[-1] :]
    cos, sin = cos[:, None], sin[:, None]
    if style == "half":
        a, b = rotated.chunk(2, dim=-1)
        turned = torch.cat((a * cos - b * sin, b * cos + a * sin), dim=-1)
    else:
        a, b = rotated[..., ::2], rotated[..., 1::2]
        turned = torch.stack((a * cos - b * sin, b * cos + a * sin), dim=-1).flatten(-2)
    return torch.cat((turned, rest), dim=-1).flatten(-2)


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

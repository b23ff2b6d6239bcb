"""Causal attention for training: the masked softmax written out where `torch.compile` fuses it, else torch's kernel."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

QUERY_BLOCK = 128
"""Queries that share their range of keys; keys behind a block's last query are not multiplied at all."""


def causal_attention(
    q: Tensor, k: Tensor, v: Tensor, scale: float | None = None, lengths: Sequence[int] | None = None
) -> Tensor:
    """softmax(q · kᵀ · scale + causal mask) · v (arXiv 1706.03762, equation 1), softmax in float32; `scale` is
    1/√head_dim by default.

    q [batch, heads, tokens, head_dim], k and v [batch, kv_heads, tokens, head_dim], where `heads` is a multiple of
    `kv_heads` (grouped-query attention, arXiv 2305.13245) -> [batch, heads, tokens, head_dim] in q's dtype. `lengths`:
    of the documents that lie one after the other in each row; tokens see those of their own document alone.
    """
    if lengths is not None and len(lengths) > 1:
        documents = zip(*(x.split(list(lengths), dim=2) for x in (q, k, v)), strict=True)
        return torch.cat([_one_document(own_q, own_k, own_v, scale) for own_q, own_k, own_v in documents], dim=2)
    return _one_document(q, k, v, scale)


def _one_document(q: Tensor, k: Tensor, v: Tensor, scale: float | None) -> Tensor:
    if q.device.type == "cpu" and torch.compiler.is_compiling():
        # The backward pass of torch's CPU kernel took a quarter of a training step; docs/training.md has the numbers.
        return _written_out(q, k, v, scale)
    return F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=scale, enable_gqa=q.shape[1] != k.shape[1])


def _written_out(q: Tensor, k: Tensor, v: Tensor, scale: float | None = None) -> Tensor:
    batch, heads, tokens, head_dim = q.shape
    kv_heads = k.shape[1]
    # The query heads of one key head are rows of one matrix, so keys and values are not repeated.
    grouped = q.reshape(batch, kv_heads, heads // kv_heads, tokens, head_dim) * (
        head_dim**-0.5 if scale is None else scale
    )
    mixed = []
    for first in range(0, tokens, QUERY_BLOCK):
        end = min(first + QUERY_BLOCK, tokens)
        rows = grouped[:, :, :, first:end].flatten(2, 3)
        scores = (rows @ k[:, :, :end].transpose(2, 3)).unflatten(2, (-1, end - first)).float()
        positions = torch.arange(end, device=q.device)
        scores = scores.masked_fill(positions > positions[first:, None], -torch.inf)
        weights = scores.softmax(dim=-1).to(v.dtype).flatten(2, 3)
        mixed.append((weights @ v[:, :, :end]).unflatten(2, (-1, end - first)))
    return torch.cat(mixed, dim=3).flatten(1, 2)

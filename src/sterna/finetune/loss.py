"""The loss of learned tokens, whose logits are never in memory all at once."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from sterna.finetune.data.batches import IGNORED

CHUNK = 128
"""Rows whose logits are in memory at a time; the backward pass computes them again."""


def in_chunks(function: Callable[..., Tensor], *tensors: Tensor) -> Tensor:
    """The sum of `function` over chunks of `CHUNK` rows of tensors [rows, ...], a scalar; what a chunk needs for the
    backward pass is computed again there."""
    total = tensors[0].new_zeros(())
    for chunk in zip(*(tensor.split(CHUNK) for tensor in tensors), strict=True):
        more = checkpoint(function, *chunk, use_reentrant=False) if torch.is_grad_enabled() else function(*chunk)
        total = total + more
    return total


def answer_loss(logits: Callable[[Tensor], Tensor], rows: Tensor, labels: Tensor, z_loss: float = 0.0) -> Tensor:
    """The sum over learned tokens of the cross entropy in nats, plus `z_loss` times the sum of log²(sum of exp(logits))
    (`sterna.train.loss`): a scalar.

    `logits` is a model's head; rows [1, n, hidden] float32, labels [1, n] int64.
    """
    learned = labels != IGNORED

    def of_chunk(chunk: Tensor, targets: Tensor) -> Tensor:
        values = logits(chunk)
        loss = F.cross_entropy(values, targets, reduction="sum")
        return loss + z_loss * values.logsumexp(dim=-1).square().sum() if z_loss else loss

    return in_chunks(of_chunk, rows[learned], labels[learned])

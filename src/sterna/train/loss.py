"""The loss that a training step minimises."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def next_token_loss(logits: Tensor, targets: Tensor, z_loss: float) -> Tensor:
    """Mean cross entropy in nats, plus `z_loss` times the mean of log²(sum of exp(logits)): a scalar.

    The second term keeps the softmax's normaliser near 1 (PaLM, arXiv 2204.02311, section 5). logits [..., vocab_size]
    float32, targets [...] int64.
    """
    loss = F.cross_entropy(logits.flatten(0, -2), targets.flatten())
    if z_loss:
        loss = loss + z_loss * logits.logsumexp(dim=-1).square().mean()
    return loss

"""What a student may learn from its teacher's logits and attention (BitDistill, arXiv 2510.13998, by its first author's
code: github.com/yushuiwx/bitnet-distill)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

LEAST_SHARE = 1e-8
"""Shares of attention are at least so large before their logarithm is taken."""


def logits_divergence(student: Tensor, teacher: Tensor, tau: float) -> Tensor:
    """Σ KL(softmax(teacher / τ) ‖ softmax(student / τ)) over rows, in nats, a scalar; the loss is this times τ², which
    keeps gradients as large whatever τ is (arXiv 1503.02531, section 2). Both float32 [rows, vocab_size]."""
    student, teacher = (F.log_softmax(logits / tau, dim=-1) for logits in (student, teacher))
    return F.kl_div(student, teacher, reduction="sum", log_target=True)


def relation_divergence(student: Tensor, teacher: Tensor, split_heads: int) -> Tensor:
    """Σ KL(teacher ‖ student) of the relations of tokens, in nats, a scalar (MiniLM's, arXiv 2012.15828, section 3.1).

    Both [tokens, channels], of one document, are what a layer's matrix gives for q, k or v; they may differ in their
    channels. These are cut into `split_heads` parts of equal size; in each, a token's relations are the softmax over
    all tokens, without a causal mask, of the cosines of its values with theirs.
    """
    own, wanted = (_relations(values, split_heads) for values in (student, teacher))
    return F.kl_div(own.log(), wanted, reduction="sum")


def _relations(values: Tensor, split_heads: int) -> Tensor:
    """[tokens, channels] -> [split_heads, tokens, tokens]."""
    parts = F.normalize(values.float().unflatten(-1, (split_heads, -1)).transpose(0, 1), dim=-1)
    return torch.softmax(parts @ parts.transpose(1, 2), dim=-1).clamp(min=LEAST_SHARE)

"""BitLinear: a linear layer that is ternary forward and float backward (BitNet b1.58, arXiv 2402.17764, section 2)."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

EPSILON = 1e-5


class _RoundStraightThrough(torch.autograd.Function):
    """`clip(round(x), low, high)` forward, the identity backward."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, low: float, high: float) -> Tensor:
        return x.round().clamp(low, high)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return gradients[0], None, None


def absmean(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Ternary codes (float, -1/0/+1, shape of `weight`) and their scale (a scalar): `weight ≈ scale * codes`."""
    scale = weight.detach().abs().mean().clamp(min=EPSILON)
    return _RoundStraightThrough.apply(weight / scale, -1.0, 1.0), scale


def absmax(x: Tensor) -> tuple[Tensor, Tensor]:
    """Per-token int8 codes (float, -128..127) and their scale [..., 1]: `x ≈ codes / scale`."""
    scale = 127.0 / x.detach().abs().amax(dim=-1, keepdim=True).clamp(min=EPSILON)
    return _RoundStraightThrough.apply(x * scale, -128.0, 127.0), scale


class BitLinear(nn.Module):
    """`y = (Wq · xq) * beta / s`, latent weights in float32, gradients straight through both quantisers.

    The codes are multiplied, not their scaled values, because codes are exact in bfloat16, too.
    """

    def __init__(self, in_features: int, out_features: int, init_std: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_features, in_features) * init_std)

    def forward(self, x: Tensor) -> Tensor:
        """x [..., in_features] float32 -> [..., out_features] float32."""
        weight_codes, beta = absmean(self.weight)
        codes, scale = absmax(x)
        return F.linear(codes, weight_codes).float() * (beta / scale)

"""BitLinear: a linear layer that is ternary forward and float backward (BitNet b1.58, arXiv 2402.17764, section 2).

A matrix has one scale, or one for each group of columns."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sterna.ternary.groups import GroupQuantizer

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


class _TernaryGroups(torch.autograd.Function):
    """The ternary values of a matrix forward, the identity backward."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, quantizer: GroupQuantizer) -> Tensor:
        groups = weight.unflatten(-1, (-1, quantizer.group_size))
        magnitude = groups.abs()
        if quantizer.zeros is None:
            mean = (_sum(magnitude)[..., None] / quantizer.group_size).clamp(min=EPSILON)
            codes = (groups / mean).round().clamp(-1.0, 1.0)
        else:
            codes = torch.where(groups < 0, -1.0, 1.0)
            if quantizer.zeros:
                codes = codes * (magnitude > magnitude.kthvalue(quantizer.zeros, dim=-1, keepdim=True).values)
        kept = codes.abs()
        scales = _sum(magnitude * kept) / _sum(kept).clamp(min=1.0)
        return (codes * scales.half().float()[..., None]).flatten(-2)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0], None


def _sum(x: Tensor) -> Tensor:
    """Sums over the last axis in the order of `sterna.ternary.groups`."""
    while x.shape[-1] > 1:
        first, second = x.chunk(2, dim=-1)
        x = first + second
    return x[..., 0]


def ternary_groups(weight: Tensor, quantizer: GroupQuantizer) -> Tensor:
    """The float32 values codes * scale of latent weights [out, in], bit for bit those of `GroupQuantizer`."""
    values: Tensor = _TernaryGroups.apply(weight, quantizer)
    return values


class BitLinear(nn.Module):
    """`y = (Wq · xq) * beta / s`, latent weights in float32, gradients straight through both quantisers.

    The codes are multiplied, not their scaled values, because codes are exact in bfloat16, too. With `groups`, weights
    have a scale for each group of columns and inputs are not quantised: `y = Wq · x`.
    """

    def __init__(
        self, in_features: int, out_features: int, init_std: float, groups: GroupQuantizer | None = None
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_features, in_features) * init_std)
        self.groups = groups

    def forward(self, x: Tensor) -> Tensor:
        """x [..., in_features] float32 -> [..., out_features] float32."""
        if self.groups is not None:
            return F.linear(x, ternary_groups(self.weight, self.groups)).float()
        weight_codes, beta = absmean(self.weight)
        codes, scale = absmax(x)
        return F.linear(codes, weight_codes).float() * (beta / scale)

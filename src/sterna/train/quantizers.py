"""The quantisers of weights and activations in torch, gradients straight through (the identity backward).

Each returns codes and a scale, which count as one value: codes are multiplied, because they are exact in bfloat16, and
the product is scaled. Scales are constants in the backward pass. `sterna.ternary` has the same in numpy.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from sterna.ternary.groups import GroupQuantizer
from sterna.ternary.quantization import Quantization

EPSILON = 1e-5

Quantizer = Callable[[Tensor], tuple[Tensor, Tensor | None]]
"""Values to codes of the same shape and their scale; None where the codes are the values themselves. Of weights,
`value ≈ codes * scale`; of activations, `value ≈ codes / scale`."""


class _RoundStraightThrough(torch.autograd.Function):
    """`clip(round(x), low, high)` forward, the identity backward."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, low: float, high: float) -> Tensor:
        return x.round().clamp(low, high)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return gradients[0], None, None


class _ReplaceStraightThrough(torch.autograd.Function):
    """Other values forward, the identity backward."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, values: Tensor) -> Tensor:
        return values

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0], None


def exact(x: Tensor) -> tuple[Tensor, None]:
    """The values themselves."""
    return x, None


def absmean(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Ternary codes (float, -1/0/+1, shape of `weight`) and their scale, a scalar (BitNet b1.58, arXiv 2402.17764,
    equations 1 to 3)."""
    scale = weight.detach().abs().mean().clamp(min=EPSILON)
    return _RoundStraightThrough.apply(weight / scale, -1.0, 1.0), scale


def binary(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Binary codes (float, -1 where a weight lies below the mean of the matrix, else +1) and their scale mean|W|, a
    scalar (BitNet, arXiv 2310.11453, equations 1 to 3 and 12)."""
    values = weight.detach()
    scale = values.abs().mean().clamp(min=EPSILON)
    codes = torch.where(values < values.mean(), -1.0, 1.0)
    return _ReplaceStraightThrough.apply(weight / scale, codes), scale


def absmax(x: Tensor) -> tuple[Tensor, Tensor]:
    """Per-token int8 codes (float, -128..127) and their scale [..., 1] (arXiv 2402.17764)."""
    scale = 127.0 / x.detach().abs().amax(dim=-1, keepdim=True).clamp(min=EPSILON)
    return _RoundStraightThrough.apply(x * scale, -128.0, 127.0), scale


def absmean_int4(x: Tensor) -> tuple[Tensor, Tensor]:
    """Per-token 4-bit codes (float, -8..7) and their scale √7 / mean|x| [..., 1] (BitNet a4.8, arXiv 2411.04965,
    section 2.1)."""
    scale = 7**0.5 / (x.detach().abs().mean(dim=-1, keepdim=True) + EPSILON)
    return _RoundStraightThrough.apply(x * scale, -8.0, 7.0), scale


def sparse_absmax(x: Tensor) -> tuple[Tensor, Tensor]:
    """`absmax` of the half of each token's values that has the largest magnitudes; the other codes are 0, and so are
    their gradients (BitNet a4.8, arXiv 2411.04965, section 2.1: top-k of 50% before the attention's output)."""
    magnitude = x.detach().abs()
    kept = magnitude.topk(x.shape[-1] // 2, dim=-1).indices
    mask = torch.zeros_like(magnitude).scatter_(-1, kept, 1.0)
    codes, scale = absmax(x)
    return codes * mask, scale


def ternary_groups(weight: Tensor, quantizer: GroupQuantizer) -> Tensor:
    """The float32 values codes * scale of latent weights [out, in], bit for bit those of `GroupQuantizer`."""
    groups = weight.detach().unflatten(-1, (-1, quantizer.group_size))
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
    values: Tensor = _ReplaceStraightThrough.apply(weight, (codes * scales.half().float()[..., None]).flatten(-2))
    return values


def _sum(x: Tensor) -> Tensor:
    """Sums over the last axis in the order of `sterna.ternary.groups`."""
    while x.shape[-1] > 1:
        first, second = x.chunk(2, dim=-1)
        x = first + second
    return x[..., 0]


def weight_quantizer(quantization: Quantization) -> Quantizer:
    """The quantiser of a layer's matrices."""
    groups = quantization.groups
    if groups is not None:
        return lambda weight: (ternary_groups(weight, groups), None)
    return {"ternary": absmean, "binary": binary, "float": exact}[quantization.weights]


A48: dict[str, Quantizer] = {"normed": absmean_int4, "attention": sparse_absmax, "gated": absmax}
"""The quantisers of BitNet a4.8 by what a matrix multiplies: normed rows (in q, k, v, gate and up), what attention gave
(in its output projection), or the gated hidden rows (in down, where relu² leaves most values 0)."""


def activation_quantizer(quantization: Quantization, source: str) -> Quantizer:
    """The quantiser of what a matrix multiplies; `source` is a key of `A48`."""
    match quantization.activations:
        case "a4.8":
            return A48[source]
        case "int8":
            return absmax
    return exact

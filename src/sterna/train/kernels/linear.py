"""BitLinear layers behind one norm, made of the Triton kernels; gradients straight through both quantisers."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from sterna.train.kernels.products import input_gradient, multiply_codes, weight_gradient
from sterna.train.kernels.quantize import absmean, norm_absmax


class _NormLinears(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, norm: Tensor, eps: float, *weights: Tensor) -> tuple[Tensor, ...]:
        rows = x.flatten(0, -2)
        codes, scales, roots = norm_absmax(rows, norm, eps)
        quantised = [absmean(weight) for weight in weights]
        ctx.save_for_backward(x, norm, codes, scales, roots, *(part for pair in quantised for part in pair))
        return tuple(
            multiply_codes(codes, scales, weight, beta).unflatten(0, x.shape[:-1]) for weight, beta in quantised
        )

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        x, norm, codes, scales, roots, *quantised = ctx.saved_tensors
        rows = [gradient.flatten(0, -2).contiguous() for gradient in upstream]
        pairs = zip(rows, quantised[::2], quantised[1::2], strict=True)
        normed = torch.stack([input_gradient(each, weight, beta) for each, weight, beta in pairs]).sum(0)
        weights = [weight_gradient(each, codes, scales) for each in rows]
        unit = x.flatten(0, -2).float() * roots[:, None]
        scaled = normed * norm
        inputs = roots[:, None] * (scaled - unit * (scaled * unit).mean(-1, keepdim=True))
        return inputs.view_as(x).to(x.dtype), (normed * unit).sum(0), None, *weights


def norm_linears(x: Tensor, norm: Tensor, eps: float, weights: list[Tensor]) -> tuple[Tensor, ...]:
    """What BitLinear layers give for one normed input: its norm and codes are computed once.

    x [..., in], the norm's weight float32 [in], latent weights float32 [out, in] each -> float32 [..., out] for each.
    The formulas are those of `sterna.train.bitlinear` (arXiv 2402.17764) after RMSNorm (arXiv 1910.07467); forward sums
    are exact, backward operands are bfloat16.
    """
    result: tuple[Tensor, ...] = _NormLinears.apply(x, norm, eps, *weights)
    return result

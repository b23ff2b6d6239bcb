"""Warm-up quantisation: a full-precision model becomes ternary by degrees (Hugging Face's page
"Fine-tuning LLMs to 1.58bit: extreme quantization made easy", 2024)."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sterna.ternary.quantization import Quantization
from sterna.train.bitlinear import BitLinear
from sterna.train.quantizers import Quantizer

SCHEDULES: dict[str, tuple[Callable[[float, float], float], float]] = {
    "linear": (lambda t, k: t, 1.0),
    "exponential": (lambda t, k: 1 - (1 - t) ** k, 8.0),
    "sigmoid": (lambda t, k: 1 / (1 + math.exp(-k * (t - 0.5))), 100.0),
    "none": (lambda t, k: 1.0, 1.0),
}
"""λ by the share t of the warm-up that is done and a steepness k, with the best k of the page; `none`: quantised from
the first step on."""


def quantised_share(schedule: str, step: int, warmup_steps: int, k: float | None = None) -> float:
    """λ of a step, counted from 0; 1 after `warmup_steps`."""
    function, usual = SCHEDULES[schedule]
    if step > warmup_steps:
        return 1.0
    return min(1.0, function(step / warmup_steps, usual if k is None else k))


def partly(x: Tensor, quantizer: Quantizer, share: float, divides: bool) -> Tensor:
    """x + λ (q(x) - x), where q(x) counts as a constant: the identity backward. `divides`: values are codes / scale, as
    those of activations are, and not codes * scale."""
    with torch.no_grad():
        codes, scale = quantizer(x)
        values = codes if scale is None else codes / scale if divides else codes * scale
        change = share * (values - x)
    return x + change


class WarmUpLinear(BitLinear):
    """A BitLinear whose weights and inputs are quantised to the share λ; at 1 it is BitLinear itself."""

    share = 1.0

    def _product(self, x: Tensor) -> Tensor:
        if self.share == 1.0:
            return super()._product(x)
        weight = partly(self.weight, self.quantize_weight, self.share, divides=False)
        return F.linear(partly(x, self.quantize_input, self.share, divides=True), weight).float()


def set_share(model: nn.Module, share: float) -> None:
    """Sets λ of every matrix."""
    for layer in model.modules():
        if isinstance(layer, WarmUpLinear):
            layer.share = share


def rescale_to_least_squares(layer: BitLinear) -> None:
    """Scales a latent matrix of one scale, which keeps its codes q, so that its scale is <W, q> / <q, q>, which makes
    |W - scale · q|² least; absmean's own scale, the mean of |W|, is too small."""
    if layer.quantization != Quantization():
        return
    with torch.no_grad():
        codes, scale = layer.quantize_weight(layer.weight)
        assert scale is not None
        best = (layer.weight * codes).sum() / codes.square().sum().clamp(min=1.0)
        layer.weight.mul_(best / scale)

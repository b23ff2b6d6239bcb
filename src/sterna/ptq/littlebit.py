"""LittleBit (arXiv 2506.13771) with distillation layer by layer: a matrix is the product of two matrices of signs with
scales on all sides, and a second such product stands for what the first leaves.

The beginning is the published one: truncated singular value decomposition, the signs of both factors, and the best
vectors of scales for their magnitudes (Dual-SVID). Signs and scales then learn until the layer gives, for the inputs
that quantised layers give, what the model's own layers give. The published distillation trains the whole model on far
more text, so this one is less.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from sterna.checkpoint.hf.quantized.littlebit import WRITER, SignProduct, SignProducts
from sterna.model.architecture import MATRICES
from sterna.ptq.layers import Layer
from sterna.ptq.learning import Learning
from sterna.ptq.method import Method
from sterna.ptq.settings import Settings

SCALE_BITS = 16
RANKS = 8
"""Ranks are multiples of it, and at least as large."""
SIGN_RATE, SCALE_RATE = 0.03, 0.01
"""Learning rates of the numbers whose signs count, which have a mean magnitude of 1, and of factors of the scales."""


def rank_of(rows: int, columns: int, bits: float) -> int:
    """The rank with which two products of signs [rows, rank] and [rank, columns] take `bits` a weight; a multiple of 8,
    and at least 8. Of scales each has one for every row, column and rank, as the authors count them."""
    room = bits * rows * columns - 2 * SCALE_BITS * (rows + columns)
    return max(int(room / (2 * (rows + columns + SCALE_BITS))) // RANKS * RANKS, RANKS)


class Product(nn.Module):
    """A product of signs in learning."""

    def __init__(self, weight: Tensor, rank: int) -> None:
        super().__init__()
        u, s, v = torch.linalg.svd(weight, full_matrices=False)
        rank, root = min(rank, len(s)), s.sqrt()
        left, right = u[:, :rank] * root[:rank], root[:rank, None] * v[:rank]
        self.scales = [*_magnitudes(left), *_magnitudes(right)]  # u1, u2, v1, v2
        self.signs = nn.ParameterList(part / part.abs().mean().clamp(min=1e-30) for part in (left, right))
        self.factors = nn.ParameterList(torch.ones_like(scale) for scale in self.scales)

    def forward(self) -> Tensor:
        """The matrix, float32 [out, in]."""
        left, right = (_sign(part) for part in self.signs)
        u1, u2, v1, v2 = (scale * factor for scale, factor in zip(self.scales, self.factors, strict=True))
        return (left * u1[:, None] * (u2 * v1)) @ (right * v2)

    @torch.no_grad()
    def product(self) -> SignProduct:
        """The signs and scales."""
        signs = [torch.where(part >= 0, 1, -1).cpu().numpy().astype(np.int8) for part in self.signs]
        pairs = zip(self.scales, self.factors, strict=True)
        return SignProduct(*signs, *((scale * factor).half().float().cpu().numpy() for scale, factor in pairs))


class Products(nn.Module):
    """A matrix in learning."""

    def __init__(self, weight: Tensor, rank: int) -> None:
        super().__init__()
        self.first = Product(weight, rank)
        with torch.no_grad():
            self.rest = Product(weight - self.first(), rank)

    def forward(self) -> Tensor:
        """What the matrix multiplies its input by, float32 [out, in]."""
        total: Tensor = self.first() + self.rest()
        return total


def _magnitudes(part: Tensor) -> tuple[Tensor, Tensor]:
    """The vectors a and b, none of whose numbers is negative, with which a bᵀ is nearest to the magnitudes of a matrix;
    both are of the same length."""
    u, s, v = torch.linalg.svd(part.abs(), full_matrices=False)
    return u[:, 0].abs() * s[0].sqrt(), v[0].abs() * s[0].sqrt()


def _sign(x: Tensor) -> Tensor:
    """Signs forward, the gradient of tanh backward."""
    soft = torch.tanh(x)
    return soft + (torch.where(x >= 0, 1.0, -1.0) - soft).detach()


def quantize(layer: Layer, settings: Settings) -> dict[str, SignProducts]:
    """Learns the signs and scales of all matrices of the layer together, `epochs` times over the calibration text."""
    assert layer.originals is not None
    generator = torch.Generator().manual_seed(settings.seed + layer.index)
    targets = layer.forward(layer.originals)
    matrices = nn.ModuleDict()
    for name in MATRICES:
        weight = layer.weight(name)
        matrices[name] = Products(weight, rank_of(weight.shape[0], weight.shape[1], settings.bits))
    learning = Learning(layer, layer.inputs, targets, matrices)
    rates = {f"signs.{part}": SIGN_RATE for part in range(2)} | {f"factors.{part}": SCALE_RATE for part in range(4)}
    learning.stage(rates, settings.epochs, generator)
    made = {}
    for name, products in matrices.items():
        assert isinstance(products, Products)
        made[name] = SignProducts(products.first.product(), products.rest.product())
        layer.set_weight(name, made[name].values())
    return made


LITTLEBIT = Method("littlebit", WRITER.bits, quantize, ("littlebit",), in_groups=False, originals=True)

"""ParoQuant (arXiv 2511.10645): the columns of a matrix are scaled, and rotated in pairs within their groups, so that
they round well; the input is scaled and rotated likewise. Scales, angles, weights and the quantiser are learned so that
the layer, with the inputs that quantised layers give, gives what the model's own layers give.

Stages, loss, optimizer and rates are those of the authors' code (z-lab/paroquant). They see 10,240 windows of 2,048
tokens in each stage, and a run here a few hundred; so the second stage's rates, made for so many steps, are higher.
"""

from __future__ import annotations

import random
from dataclasses import replace

import torch
from torch import Tensor, nn

from sterna.checkpoint.hf.quantized.groups import GroupCodes
from sterna.checkpoint.hf.quantized.paroquant import ROTATIONS
from sterna.model.architecture import MATRICES
from sterna.ptq.grid import LEAST_RANGE, Grid
from sterna.ptq.layers import Layer
from sterna.ptq.learning import Learning
from sterna.ptq.method import Method
from sterna.ptq.rotation import draw_pairs, rotated, rotations
from sterna.ptq.settings import Settings

ROTATION_RATE = 0.05
"""Learning rate of angles and channel scales."""
MORE_THAN_PUBLISHED = 20
WEIGHT_RATE, QUANTIZER_RATE = 1e-5 * MORE_THAN_PUBLISHED, 1e-6 * MORE_THAN_PUBLISHED
CHANNEL_SCALES = 1e-2, 1e2
"""The least and the largest."""


def _straight(x: Tensor, values: Tensor) -> Tensor:
    """`values` forward, the gradient of x backward."""
    return x + (values - x).detach()


class Rotated(nn.Module):
    """A matrix in learning. In the first stage `weight` [out, in] is scaled and rotated; in the second it is the
    rotated matrix itself, with a quantiser of its own."""

    weight: Tensor

    def __init__(self, weight: Tensor, grid: Grid, pairs: Tensor) -> None:
        super().__init__()
        self.grid, self.pairs = grid, pairs
        self.register_buffer("weight", weight.clone())
        self.channel_scales = nn.Parameter(torch.ones_like(weight[0]))
        self.angles = nn.Parameter(torch.zeros(len(pairs), weight.shape[1] // 2, device=weight.device))
        self.scale: nn.Parameter | None = None
        self.zero: nn.Parameter | None = None

    def turn(self) -> tuple[Tensor, Tensor]:
        """The matrices of the rotations, and the channel scales."""
        return rotations(self.angles, self.pairs, self.grid.group_size), self.channel_scales.clamp(*CHANNEL_SCALES)

    def begin_second_stage(self) -> None:
        """Freezes the rotation, as files keep it, and makes parameters of the rotated matrix and of its quantiser."""
        with torch.no_grad():
            self.angles.copy_(self.angles.half())
            self.channel_scales.copy_(self.channel_scales.clamp(*CHANNEL_SCALES).half())
            turn, channel_scales = self.turn()
            turned = rotated(self.weight / channel_scales, turn)
            scale, _ = self.grid.fit(self.grid.grouped(turned))
            low = self.grid.grouped(turned).amin(dim=-1, keepdim=True)
        del self.weight
        self.weight = nn.Parameter(turned)
        self.scale, self.zero = nn.Parameter(scale), nn.Parameter(low / scale)
        self.angles.requires_grad_(False)
        self.channel_scales.requires_grad_(False)

    def quantizer(self, groups: Tensor) -> tuple[Tensor, Tensor]:
        """Scale and zero point [out, groups, 1] of the rotated matrix; gradients pass through the rounding."""
        if self.scale is None or self.zero is None:
            low, high = groups.amin(dim=-1, keepdim=True), groups.amax(dim=-1, keepdim=True)
            scale = (high - low).clamp(min=LEAST_RANGE) / self.grid.levels
            zero = -low / scale
        else:
            scale, zero = self.scale.clamp(min=LEAST_RANGE / self.grid.levels), -self.zero
        return scale, _straight(zero, zero.round().clamp(0, self.grid.levels))

    def forward(self) -> Tensor:
        """What the matrix multiplies its input by when it is rounded, float32 [out, in]."""
        turn, channel_scales = self.turn()
        turned = rotated(self.weight / channel_scales, turn) if self.scale is None else self.weight
        groups = self.grid.grouped(turned)
        scale, zero = self.quantizer(groups)
        ratio = groups / scale
        code = ratio + zero
        values = (_straight(code, (ratio.round() + zero).clamp(0, self.grid.levels)) - zero) * scale
        return rotated(values.flatten(-2), turn.mT) * channel_scales

    @torch.no_grad()
    def matrix(self) -> GroupCodes:
        """The codes and the rotation."""
        groups = self.grid.grouped(self.weight)
        scale, zero = self.quantizer(groups)
        codes = self.grid.codes(groups, scale, zero).flatten(-2)  # those that were learned, for scales in float32
        made = self.grid.matrix(codes, scale[..., 0].half(), zero[..., 0])
        size, columns = self.grid.group_size, self.weight.shape[1]
        first = torch.arange(0, columns, size, device=self.pairs.device).repeat_interleave(size)
        return replace(
            made,
            channel_scales=self.channel_scales.cpu().numpy(),
            angles=self.angles.cpu().numpy(),
            pairs=(self.pairs + first).int().cpu().numpy(),
        )


def quantize(layer: Layer, settings: Settings) -> dict[str, GroupCodes]:
    """Learns the rotations of all matrices of the layer together, then their weights and quantisers."""
    assert layer.originals is not None
    rng = random.Random(settings.seed + layer.index)
    generator = torch.Generator().manual_seed(settings.seed + layer.index)
    matrices: dict[str, Rotated] = {}
    for name in MATRICES:
        weight = layer.weight(name)
        pairs = draw_pairs(settings.pairing, weight.shape[1], settings.group_size, ROTATIONS, rng)
        matrices[name] = Rotated(weight, settings.grid, pairs.to(weight.device))
    learning = Learning(layer, layer.inputs, layer.forward(layer.originals), nn.ModuleDict(matrices))
    learning.stage({"channel_scales": ROTATION_RATE, "angles": ROTATION_RATE}, settings.epochs, generator)
    for matrix in matrices.values():
        matrix.begin_second_stage()
    rates = {"weight": WEIGHT_RATE, "scale": QUANTIZER_RATE, "zero": QUANTIZER_RATE}
    learning.stage(rates, settings.epochs, generator)
    made = {name: matrix.matrix() for name, matrix in matrices.items()}
    for name, codes in made.items():
        layer.set_weight(name, codes.values())
    return made


PAROQUANT = Method("paroquant", (4,), quantize, ("paro",), originals=True)

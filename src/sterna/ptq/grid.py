"""The grid of integer codes: a scale and a zero point for each row and group of columns."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sterna.checkpoint.hf.quantized.groups import GroupCodes

LEAST_RANGE = 1e-5
"""The least difference of a group's largest and smallest value that a scale is made for: smaller ones would make a
scale of 0 in float16 (the same number as in AutoAWQ)."""


@dataclass(frozen=True)
class Grid:
    """Codes 0..2^bits - 1 that stand for `scale * (code - zero)`. Symmetric: the zero point lies in the middle."""

    bits: int
    group_size: int
    symmetric: bool = False

    @property
    def levels(self) -> int:
        """The largest code."""
        return (1 << self.bits) - 1

    def grouped(self, weight: Tensor) -> Tensor:
        """weight [..., in] as [..., groups, group_size]."""
        return weight.unflatten(-1, (-1, self.group_size))

    def fit(self, groups: Tensor) -> tuple[Tensor, Tensor]:
        """Scale and zero point [..., 1], float32, that span the values of each group [..., group_size]."""
        low, high = groups.amin(dim=-1, keepdim=True), groups.amax(dim=-1, keepdim=True)
        if self.symmetric:
            high = torch.maximum(low.abs(), high.abs())
            low = -high
        scale = (high - low).clamp(min=LEAST_RANGE) / self.levels
        if self.symmetric:
            return scale, torch.full_like(scale, 1 << self.bits - 1)
        return scale, (-low / scale).round().clamp(0, self.levels)

    def fit_stored(self, groups: Tensor) -> tuple[Tensor, Tensor]:
        """As `fit`, with scales rounded to float16, as files keep them."""
        scale, zero = self.fit(groups)
        return scale.half().float(), zero

    def codes(self, values: Tensor, scale: Tensor, zero: Tensor) -> Tensor:
        """The nearest codes, float32, of values that broadcast against their scale and zero point."""
        return ((values / scale).round() + zero).clamp(0, self.levels)

    def nearest(self, weight: Tensor) -> Tensor:
        """weight [..., in] rounded to the grid that spans its groups."""
        groups = self.grouped(weight)
        scale, zero = self.fit(groups)
        return ((self.codes(groups, scale, zero) - zero) * scale).flatten(-2)

    def round(self, weight: Tensor) -> GroupCodes:
        """weight [out, in] rounded to the grid that spans its groups."""
        groups = self.grouped(weight)
        scale, zero = self.fit_stored(groups)
        return self.matrix(self.codes(groups, scale, zero).flatten(-2), scale[..., 0], zero[..., 0])

    def matrix(self, codes: Tensor, scales: Tensor, zeros: Tensor) -> GroupCodes:
        """A matrix of codes [out, in] with scales and zero points [out, groups], all float32."""
        whole, middle = (part.to(torch.uint8).cpu().numpy() for part in (codes, zeros))
        return GroupCodes(self.bits, whole, scales.float().cpu().numpy(), middle)

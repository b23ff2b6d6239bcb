"""Low-rank updates of matrices (LoRA, arXiv 2106.09685) for rows of a pass, by torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from sterna.engine.backend import Mix

if TYPE_CHECKING:
    from sterna.checkpoint.adapters import LowRank

Handle = dict[str, tuple[torch.Tensor, torch.Tensor, float]]
"""A [rank, in] and B [out, rank], float32, and a factor, by the names of matrices."""


def load(updates: Mapping[str, LowRank], names: Mapping[str, str], device: torch.device) -> Handle:
    """An adapter on the device; `names`: what a matrix is called in the plan, where that is another name."""

    def tensor(values: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(np.array(values, np.float32)).to(device)

    return {names.get(name, name): (tensor(low.a), tensor(low.b), low.scale) for name, low in updates.items()}


class Present:
    """The adapters of the rows of a pass."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._mixes: list[tuple[Mix, torch.Tensor]] = []

    def take(self, mixes: Sequence[Mix], lengths: Sequence[int]) -> None:
        """Begins a pass; `lengths`: how many rows each of `mixes` is for."""
        found: dict[Mix, list[int]] = {}
        first = 0
        for mix, length in zip(mixes, lengths, strict=True):
            if mix.parts:
                found.setdefault(mix, []).extend(range(first, first + length))
            first += length
        self._mixes = [(mix, torch.tensor(rows, device=self._device)) for mix, rows in found.items()]

    def add(self, weight: str, x: torch.Tensor, out: torch.Tensor) -> None:
        """out [n, out] += scale · B · (A · x) for the rows of each mix and every adapter in it that updates the matrix
        `weight`."""
        for mix, rows in self._mixes:
            for adapter, scale in mix.parts:
                if weight in adapter.handle:
                    a, b, factor = adapter.handle[weight]
                    out.index_add_(0, rows, (x[rows] @ a.T) @ b.T, alpha=scale * factor)

"""Which matrices of a model multiply rotated activations (PrismML's `prism.hadamard.*`, 2026-08)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

MAX_BLOCK = 4096


@dataclass(frozen=True)
class Hadamard:
    """For each matrix W in `weights`, `y = W · H(s · x)`, s the signs of x's width, H the transform of
    `operations.Hadamard`; a row z of a table in `inverse` stands for `s · H(z)`."""

    block_size: int
    """A power of two up to `MAX_BLOCK`."""
    weights: frozenset[str]
    inverse: frozenset[str]
    signs: Mapping[int, tuple[int, ...]] = field(default_factory=dict)
    """+1 or -1 for each column, by width; a width without signs has none."""

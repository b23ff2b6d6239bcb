"""Which matrices of a model multiply rotated activations (PrismML's `prism.hadamard.*`, 2026-08)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

MAX_BLOCK = 4096
"""The most columns that are rotated together."""


@dataclass(frozen=True)
class Hadamard:
    """Rotations by H, the transform of `operations.Hadamard`, with s the signs of the width that is rotated.

    A matrix W in `weights` computes `y = W · H(s · x)`; a row z of an embedding in `inverse` stands for `s · H(z)`.
    """

    block_size: int
    """A power of two up to `MAX_BLOCK`."""
    weights: frozenset[str]
    """Names of the matrices that multiply rotated activations."""
    inverse: frozenset[str]
    """Names of the embeddings whose rows are rotated back."""
    signs: Mapping[int, tuple[int, ...]] = field(default_factory=dict)
    """+1 or -1 for each column, by width; for other widths all are +1."""
    values_grouped: bool = False
    """Whether the output matrices of tiled delta nets (`DeltaNet.is_tiled`) read value heads in the grouped order:
    those of a key head one after the other (`gdn_v_grouped`)."""

"""A matrix as integer codes in groups of columns: what quantisers make, and what writers of several formats take."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sterna.checkpoint.hf.quantized.module import dequantized
from sterna.model.oracle import rotate


@dataclass(frozen=True)
class GroupCodes:
    """`w = scale * (code - zero)`, with one scale and zero point for each row and group of columns.

    Scales are float16 numbers. Groups are runs of columns, unless `index` says otherwise. With a rotation (that of
    `operations.Rotate`, whose pairs are columns of the whole matrix), these are the codes of the matrix that multiplies
    rotated activations.
    """

    bits: int
    codes: np.ndarray
    """uint8 [out, in]."""
    scales: np.ndarray
    """float32 [out, groups]."""
    zeros: np.ndarray
    """uint8 [out, groups]."""
    index: np.ndarray | None = None
    """The group of each column, int32 [in]."""
    channel_scales: np.ndarray | None = None
    """float32 [in]."""
    angles: np.ndarray | None = None
    """float32 [K, in / 2]."""
    pairs: np.ndarray | None = None
    """int32 [K, in]."""

    @property
    def group_size(self) -> int:
        """Columns of a group."""
        return int(self.codes.shape[1] // self.scales.shape[1])

    @property
    def is_rotated(self) -> bool:
        """Whether the matrix multiplies rotated activations."""
        return self.channel_scales is not None

    def values(self) -> np.ndarray:
        """What the matrix multiplies its input by, rotation included: float32 [out, in]."""
        zeros = self.zeros.astype(np.float32)
        if self.index is not None:
            return (self.codes - zeros[:, self.index]) * self.scales[:, self.index]
        values = dequantized(self.codes, self.scales, zeros)
        if self.channel_scales is None or self.angles is None or self.pairs is None:
            return values
        turned: np.ndarray = rotate(values, -self.angles[::-1], self.pairs[::-1]) * self.channel_scales
        return turned

"""A matrix of signs with a scale for each group of columns, which MLX and GGUF keep in one bit a weight."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Signs:
    """`w = scale * sign`."""

    bits_set: np.ndarray
    """uint8 [out, in]: 1 for +1, 0 for -1."""
    scales: np.ndarray
    """float32 [out, groups], float16 numbers."""

    @property
    def signs(self) -> np.ndarray:
        """int8 [out, in]."""
        return 2 * self.bits_set.astype(np.int8) - 1

    def values(self) -> np.ndarray:
        """What the matrix multiplies its input by, float32 [out, in]."""
        grouped = self.signs.reshape(*self.scales.shape, -1) * self.scales[..., None]
        values: np.ndarray = grouped.reshape(self.bits_set.shape)
        return values

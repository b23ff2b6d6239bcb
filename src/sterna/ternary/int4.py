"""Asymmetric INT4 in groups of columns: codes q of four bits, and for each group a scale d and a zero point z,

    w = d * (q - z)

The zero point is a float16 number: a whole one in AWQ, GPTQ, ParoQuant and compressed-tensors (0 to 16), any in HQQ.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

GROUPS = (32, 64, 128)
"""Columns of a group."""


@dataclass(frozen=True)
class Int4:
    """Blocks of one group: d, z, and the codes, of which columns 2i and 2i + 1 are the low and the high nibble of
    q[i]."""

    group: int

    @property
    def dtype(self) -> np.dtype:
        return np.dtype([("d", "<f2"), ("z", "<f2"), ("q", "u1", self.group // 2)])

    def pack(self, codes: np.ndarray, scales: np.ndarray, zeros: np.ndarray) -> np.ndarray:
        """The bytes of codes 0..15 [rows, columns] with float16 scales and zero points [rows, columns / group]."""
        pairs = codes.reshape(-1, self.group // 2, 2)
        blocks = np.empty(len(pairs), self.dtype)
        blocks["d"], blocks["z"] = scales.reshape(-1), zeros.reshape(-1)
        blocks["q"] = pairs[..., 0] | pairs[..., 1] << 4
        return blocks.view(np.uint8)

    def numbers(self, data: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """`q - z` of each block, float32 [blocks, group], and d, float32 [blocks]. Whole zero points give whole
        numbers."""
        blocks = data.view(self.dtype)
        codes = np.stack([blocks["q"] & 15, blocks["q"] >> 4], axis=-1).reshape(len(blocks), self.group)
        return codes - blocks["z"].astype(np.float32)[:, None], blocks["d"].astype(np.float32)

    def dequantize(self, data: np.ndarray) -> np.ndarray:
        """Float32 weights of blocks."""
        numbers, scales = self.numbers(data)
        return (numbers * scales[:, None]).reshape(-1)


INT4 = {group: Int4(group) for group in GROUPS}
"""By columns of a group."""

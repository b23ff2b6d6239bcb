"""Q2_0, PQ2_0, Q1_0 and STQ1_0: ternary and binary weights in blocks of a row, each with a float16 scale of its own.

Q2_0 (blocks of 64) and Q1_0 are llama.cpp's (ggml's `block_q2_0`, `block_q1_0`); PQ2_0, and what older versions of
PrismML's fork call Q2_0, have blocks of 128. STQ1_0 is Tencent's (AngelSlim "Sherry"): of four weights one is 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Fields:
    """A packing of blocks: the float16 scale d, then fields of `bits` bits, the first in the lowest bits of the first
    byte.

    A weight is `d * code` with `code = step * field - 1`: with two bits -1, 0, +1 and +2, with one bit -1 and +1.
    """

    name: str
    block: int
    """Weights in a block."""
    bits: int
    """1 or 2."""

    @property
    def step(self) -> int:
        """Difference between the codes of a field and of the next larger one."""
        return 1 if self.bits == 2 else 2

    @property
    def dtype(self) -> np.dtype:
        """A block: the scale, then the bytes of fields."""
        return np.dtype([("d", "<f2"), ("q", "u1", self.block * self.bits // 8)])

    @property
    def _shifts(self) -> np.ndarray:
        return np.arange(0, 8, self.bits, dtype=np.uint8)

    def pack(self, codes: np.ndarray, scales: np.ndarray) -> np.ndarray:
        """Packs int8 codes [..., columns], whole blocks of columns, and a scale for each block into a uint8 vector.

        Raises ValueError for another number of columns, or a code that the fields cannot hold.
        """
        if codes.shape[-1] % self.block:
            raise ValueError(f"{self.name} keeps rows of multiples of {self.block} weights, not {codes.shape[-1]}")
        codes = np.ascontiguousarray(codes, np.int8)
        most = self.step * ((1 << self.bits) - 1) - 1
        if codes.size and not (-1 <= codes.min() <= codes.max() <= most and (self.bits == 2 or codes.all())):
            raise ValueError(f"{self.name} holds the codes {'-1, 0, 1 and 2' if self.bits == 2 else '-1 and 1'} alone")
        blocks = np.zeros(codes.size // self.block, self.dtype)
        blocks["q"] = self._bytes(codes).reshape(len(blocks), -1)
        blocks["d"] = np.reshape(scales, -1)
        return blocks.view(np.uint8)

    def _bytes(self, codes: np.ndarray) -> np.ndarray:
        """The bytes of fields of int8 codes."""
        if self.bits == 1:
            return np.packbits(codes > 0, axis=None, bitorder="little")
        words = (codes + np.int8(1)).reshape(-1).view("<u4")  # four fields in the low bits of four bytes
        return (words | words >> 6 | words >> 12 | words >> 18).astype(np.uint8)

    def unpack(self, data: np.ndarray, shape: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """Unpacks a uint8 vector of blocks into int8 codes of `shape` and float32 scales [..., columns / block].

        Every byte is valid. A scale that is not finite is invalid; the caller checks it.
        """
        blocks = np.ascontiguousarray(data).view(self.dtype)
        fields = (blocks["q"][:, :, None] >> self._shifts) & np.uint8((1 << self.bits) - 1)
        codes = fields.view(np.int8) * np.int8(self.step) - np.int8(1)
        scales = blocks["d"].astype(np.float32).reshape(*shape[:-1], shape[-1] // self.block)
        return codes.reshape(shape), scales

    def count_zeros(self, data: np.ndarray) -> int:
        """How many codes of a uint8 vector of blocks are 0."""
        if self.bits == 1:
            return 0
        counts = np.bincount(data.view(self.dtype)["q"].reshape(-1), minlength=256)
        return int(counts @ _ONES)


_ONES = np.array([sum(byte >> shift & 3 == 1 for shift in (0, 2, 4, 6)) for byte in range(256)])
"""How many of the four fields in a byte are 1, which stands for the weight 0."""

Q2_0 = Fields("Q2_0", 64, 2)
PQ2_0 = Fields("PQ2_0", 128, 2)
Q1_0 = Fields("Q1_0", 128, 1)
Q1_0_G32 = Fields("Q1_0_G32", 32, 1)
"""What PrismML's fork wrote as Q1_0 for some weeks of 2026."""

STQ1_0_BLOCK = 256
STQ1_0 = np.dtype([("q", "u1", 32), ("sign", "u1", 8), ("d", "<f2")])
"""256 weights in 42 bytes: 64 quadruples, each a nibble of `q` (the low one first) and a bit of `sign`."""


def _quadruples() -> np.ndarray:
    """Int8 [16, 4]: the weights of each nibble with the sign bit 0. The nibble is 4 * (place of the 0) + b; of the
    other three the first is +1, the second -1 if bit 0 of b is set, the third -1 if bit 1 is."""
    table = np.zeros((16, 4), np.int8)
    for nibble in range(16):
        others = [place for place in range(4) if place != nibble >> 2]
        table[nibble, others] = (1, 1 - 2 * (nibble & 1), 1 - (nibble & 2))
    return table


_QUADRUPLES = _quadruples()


def unpack_stq1_0(data: np.ndarray, shape: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """As `Fields.unpack`, for STQ1_0. Quadruple g holds the weights 64 * (g // 16) + g % 16 + 16 p, p = 0 to 3."""
    blocks = np.ascontiguousarray(data).view(STQ1_0)
    nibbles = (blocks["q"][:, :, None] >> np.array([0, 4], np.uint8)) & 15
    signs = np.unpackbits(blocks["sign"], axis=-1, bitorder="little").astype(np.int8)
    weights = _QUADRUPLES[nibbles.reshape(len(blocks), 64)] * (1 - 2 * signs)[:, :, None]
    codes = weights.reshape(len(blocks), 4, 16, 4).swapaxes(2, 3)
    scales = blocks["d"].astype(np.float32).reshape(*shape[:-1], shape[-1] // STQ1_0_BLOCK)
    return np.ascontiguousarray(codes).reshape(shape), scales


def count_zeros_stq1_0(data: np.ndarray) -> int:
    """How many weights of a uint8 vector of blocks are 0: one of four."""
    return data.size // STQ1_0.itemsize * STQ1_0_BLOCK // 4

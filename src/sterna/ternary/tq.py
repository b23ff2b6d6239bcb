"""TQ1_0, TQ2_0 and PTQ1_0: ternary weights in blocks of a row, each with one float16 scale at its end.

`w = d * (field - 1)`, field 0, 1 or 2; a block of zeros has d = 0. TQ1_0 and TQ2_0 are llama.cpp's (ggml's
`block_tq1_0`, `block_tq2_0`), PTQ1_0 is PrismML's fork's: the digits of TQ1_0 in blocks of half the length.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sterna.ternary import i2s

BLOCK = 256
TQ2_0 = np.dtype([("q", "u1", (2, 32)), ("d", "<f2")])
"""256 weights in 66 bytes: byte b of each half holds the fields b, b + 32, b + 64, b + 96 from the low bits up."""
POWERS = np.array([81, 27, 9, 3, 1], np.uint8)[:, None]
SHIFTS = np.array([0, 2, 4, 6], np.uint8)[:, None]
_ZERO_DIGITS = np.array([[byte * power % 256 * 3 >> 8 == 1 for power in (1, 3, 9, 27, 81)] for byte in range(256)])
"""Bool [256, 5]: whether each of the five fields in a byte of digits is 1, which stands for the weight 0."""


@dataclass(frozen=True)
class Trits:
    """A packing of fields as digits in base 3.

    A byte holds five fields (in the last part four) as the digits of a number, the first field the highest digit. The
    number n, 0 to 242, is kept as ceil(n * 256 / 243): a product with 3 has the highest digit above bit 7, and its low
    8 bits hold the other digits in the same way.
    """

    name: str
    parts: tuple[tuple[int, int], ...]
    """Number of bytes, and fields in a byte. Byte b of a part of n bytes holds its fields b, b + n, b + 2n, ..."""

    @property
    def block(self) -> int:
        """Weights in a block."""
        return sum(size * count for size, count in self.parts)

    @property
    def dtype(self) -> np.dtype:
        """A block: the bytes of digits, then the scale."""
        return np.dtype([("q", "u1", sum(size for size, _ in self.parts)), ("d", "<f2")])

    def pack(self, codes: np.ndarray, scales: np.ndarray) -> np.ndarray:
        """Packs int8 codes [..., columns] of {-1, 0, 1}, whole blocks of columns, and a scale for each block into a
        uint8 vector of blocks.

        Raises ValueError for another number of columns or another code.
        """
        fields, blocks = _fields(codes, self.block, self.name), np.zeros(codes.size // self.block, self.dtype)
        at, byte = 0, 0
        for size, count in self.parts:
            digits = fields[:, at : at + size * count].reshape(-1, count, size) * POWERS[:count]
            numbers = digits.sum(axis=1, dtype=np.uint16)
            blocks["q"][:, byte : byte + size] = (numbers * 256 + 242) // 243
            at, byte = at + size * count, byte + size
        blocks["d"] = np.reshape(scales, -1)
        return blocks.view(np.uint8)

    def unpack(self, data: np.ndarray, shape: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """Unpacks a uint8 vector of blocks into int8 codes of `shape` and float32 scales [..., columns / block].

        Every byte is valid. A scale that is not finite is invalid; the caller checks it.
        """
        blocks = np.ascontiguousarray(data).view(self.dtype)
        fields = np.empty((len(blocks), self.block), np.uint8)
        at, byte = 0, 0
        for size, count in self.parts:
            # The powers in reverse bring each digit to the top in turn; uint8 drops the bits above a byte.
            shifted = blocks["q"][:, None, byte : byte + size] * POWERS[::-1][:count]
            fields[:, at : at + size * count] = ((shifted.astype(np.uint16) * 3) >> 8).reshape(len(blocks), -1)
            at, byte = at + size * count, byte + size
        return _codes(fields, shape), _scales(blocks, shape, self.block)

    def count_zeros(self, data: np.ndarray) -> int:
        """How many weights of a uint8 vector of blocks are 0."""
        q, zeros, byte = data.view(self.dtype)["q"], 0, 0
        for size, count in self.parts:
            counts = np.bincount(q[:, byte : byte + size].reshape(-1), minlength=256)
            zeros += int(counts @ _ZERO_DIGITS[:, :count].sum(axis=1))
            byte += size
        return zeros


TQ1_0 = Trits("TQ1_0", ((32, 5), (16, 5), (4, 4)))
"""256 weights in 54 bytes."""
PTQ1_0 = Trits("PTQ1_0", ((16, 5), (8, 5), (2, 4)))
"""128 weights in 28 bytes."""


def pack_tq2_0(codes: np.ndarray, scales: np.ndarray) -> np.ndarray:
    """As `Trits.pack`, in TQ2_0."""
    fields, blocks = _fields(codes, BLOCK, "TQ2_0"), np.zeros(codes.size // BLOCK, TQ2_0)
    blocks["q"] = np.bitwise_or.reduce(fields.reshape(-1, 2, 4, 32) << SHIFTS, axis=2)
    blocks["d"] = np.reshape(scales, -1)
    return blocks.view(np.uint8)


def unpack_tq2_0(data: np.ndarray, shape: Sequence[int], strict: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """As `Trits.unpack`, for TQ2_0. The invalid field 3 reads as 0; with `strict` it raises ValueError."""
    blocks = np.ascontiguousarray(data).view(TQ2_0)
    fields = (blocks["q"][:, :, None, :] >> SHIFTS) & 3
    invalid = fields == 3
    if strict and invalid.any():
        raise ValueError("TQ2_0 data holds the field 3, which is no ternary weight")
    fields[invalid] = 1
    return _codes(fields, shape), _scales(blocks, shape, BLOCK)


def count_zeros_tq2_0(data: np.ndarray) -> int:
    """How many weights of a uint8 vector of blocks are 0; the order of the fields in a byte, the reverse of I2_S's,
    does not matter."""
    return i2s.count_zeros(data.view(TQ2_0)["q"].reshape(-1))


def _fields(codes: np.ndarray, block: int, name: str) -> np.ndarray:
    """Codes + 1, in rows of a block."""
    if codes.shape[-1] % block:
        raise ValueError(f"{name} keeps rows of multiples of {block} weights, not {codes.shape[-1]}")
    fields = (np.ascontiguousarray(codes, np.int8) + 1).view(np.uint8)
    if fields.size and fields.max() > 2:
        raise ValueError(f"{name} holds the codes -1, 0 and 1 alone")
    return fields.reshape(-1, block)


def _codes(fields: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    return fields.view(np.int8).reshape(shape) - np.int8(1)


def _scales(blocks: np.ndarray, shape: Sequence[int], block: int) -> np.ndarray:
    scales: np.ndarray = blocks["d"].astype(np.float32).reshape(*shape[:-1], shape[-1] // block)
    return scales

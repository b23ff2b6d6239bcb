"""TQ1_0 and TQ2_0, llama.cpp's layouts of ternary weights (layouts of ggml's `block_tq1_0`, `block_tq2_0`).

Both keep 256 weights of a row in a block with one float16 scale: `w = d * (field - 1)`, field 0, 1 or 2. A block of
zeros has d = 0.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sterna.ternary import i2s

BLOCK = 256
TQ1_0 = np.dtype([("q", "u1", 52), ("d", "<f2")])
"""256 weights in 54 bytes: a byte holds five fields (the last four bytes: four) as the digits of a number in base 3,
the first field the highest digit. The number n, 0 to 242, is kept as ceil(n * 256 / 243): a product with 3 has the
highest digit above bit 7, and its low 8 bits hold the other digits in the same way."""
TQ2_0 = np.dtype([("q", "u1", (2, 32)), ("d", "<f2")])
"""256 weights in 66 bytes: byte b of each half holds the fields b, b + 32, b + 64, b + 96 from the low bits up."""

PARTS = ((0, 32, 5), (32, 16, 5), (48, 4, 4))
"""The three parts of a TQ1_0 block: first byte, number of bytes, and fields in a byte. Byte b of a part of n bytes
holds its fields b, b + n, b + 2n, ..."""
POWERS = np.array([81, 27, 9, 3, 1], np.uint8)[:, None]
SHIFTS = np.array([0, 2, 4, 6], np.uint8)[:, None]
_ZERO_DIGITS = np.array([[byte * power % 256 * 3 >> 8 == 1 for power in (1, 3, 9, 27, 81)] for byte in range(256)])
"""Bool [256, 5]: whether each of the five fields in a byte of TQ1_0 is 1, which stands for the weight 0."""


def pack_tq1_0(codes: np.ndarray, scales: np.ndarray) -> np.ndarray:
    """Packs int8 codes [..., columns] of {-1, 0, 1}, a multiple of 256 columns, and a scale for every 256 of them into
    a uint8 vector of blocks.

    Raises ValueError for another number of columns or another code.
    """
    fields, blocks = _fields(codes), np.zeros(codes.size // BLOCK, TQ1_0)
    at = 0
    for byte, size, count in PARTS:
        digits = fields[:, at : at + size * count].reshape(-1, count, size) * POWERS[:count]
        numbers = digits.sum(axis=1, dtype=np.uint16)
        blocks["q"][:, byte : byte + size] = (numbers * 256 + 242) // 243
        at += size * count
    blocks["d"] = np.reshape(scales, -1)
    return blocks.view(np.uint8)


def unpack_tq1_0(data: np.ndarray, shape: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Unpacks a uint8 vector of blocks into int8 codes of `shape` and float32 scales [..., columns / 256].

    Every byte is valid. A scale that is not finite is invalid; the caller checks it.
    """
    blocks = np.ascontiguousarray(data).view(TQ1_0)
    fields = np.empty((len(blocks), BLOCK), np.uint8)
    at = 0
    for byte, size, count in PARTS:
        # The powers in reverse bring each digit to the top in turn; uint8 drops the bits above a byte.
        shifted = blocks["q"][:, None, byte : byte + size] * POWERS[::-1][:count]
        fields[:, at : at + size * count] = ((shifted.astype(np.uint16) * 3) >> 8).reshape(len(blocks), -1)
        at += size * count
    return _codes(fields, shape), _scales(blocks, shape)


def pack_tq2_0(codes: np.ndarray, scales: np.ndarray) -> np.ndarray:
    """As `pack_tq1_0`, in TQ2_0."""
    fields, blocks = _fields(codes), np.zeros(codes.size // BLOCK, TQ2_0)
    blocks["q"] = np.bitwise_or.reduce(fields.reshape(-1, 2, 4, 32) << SHIFTS, axis=2)
    blocks["d"] = np.reshape(scales, -1)
    return blocks.view(np.uint8)


def unpack_tq2_0(data: np.ndarray, shape: Sequence[int], strict: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """As `unpack_tq1_0`, for TQ2_0. The invalid field 3 reads as 0; with `strict` it raises ValueError."""
    blocks = np.ascontiguousarray(data).view(TQ2_0)
    fields = (blocks["q"][:, :, None, :] >> SHIFTS) & 3
    invalid = fields == 3
    if strict and invalid.any():
        raise ValueError("TQ2_0 data holds the field 3, which is no ternary weight")
    fields[invalid] = 1
    return _codes(fields, shape), _scales(blocks, shape)


def count_zeros_tq1_0(data: np.ndarray) -> int:
    """How many weights of a uint8 vector of blocks are 0."""
    counts = [np.bincount(part.reshape(-1), minlength=256) for part in np.split(data.view(TQ1_0)["q"], [48], axis=1)]
    return int(counts[0] @ _ZERO_DIGITS.sum(axis=1) + counts[1] @ _ZERO_DIGITS[:, :4].sum(axis=1))


def count_zeros_tq2_0(data: np.ndarray) -> int:
    """As `count_zeros_tq1_0`; the order of the fields in a byte, the reverse of I2_S's, does not matter."""
    return i2s.count_zeros(data.view(TQ2_0)["q"].reshape(-1))


def _fields(codes: np.ndarray) -> np.ndarray:
    """Codes + 1, in rows of 256."""
    if codes.shape[-1] % BLOCK:
        raise ValueError(f"TQ1_0 and TQ2_0 keep rows of multiples of {BLOCK} weights, not {codes.shape[-1]}")
    fields = (np.ascontiguousarray(codes, np.int8) + 1).view(np.uint8)
    if fields.size and fields.max() > 2:
        raise ValueError("TQ1_0 and TQ2_0 hold the codes -1, 0 and 1 alone")
    return fields.reshape(-1, BLOCK)


def _codes(fields: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    return fields.view(np.int8).reshape(shape) - np.int8(1)


def _scales(blocks: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    scales: np.ndarray = blocks["d"].astype(np.float32).reshape(*shape[:-1], shape[-1] // BLOCK)
    return scales

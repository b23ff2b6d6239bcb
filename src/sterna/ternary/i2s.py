"""I2_S, bitnet.cpp's layout of ternary weights (GGUF tensor type 36), in its x86 form of 128 weights in 32 bytes.

The blocks run over the flattened row-major matrix. Byte b of a block holds the codes (weight + 1) of the weights
b, b+32, b+64, b+96 in bits 7:6, 5:4, 3:2, 1:0. A file keeps one float32 scale after the codes; it is no part of this.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

BLOCK = 128
SHIFTS = np.array([6, 4, 2, 0], np.uint8)[:, None]


def pack_i2s(codes: np.ndarray) -> np.ndarray:
    """Pack int8 codes of {-1, 0, 1}, any shape whose size is a multiple of 128, into a uint8 vector of size/4 bytes.

    Raises ValueError for another size or another code.
    """
    if codes.size % BLOCK:
        raise ValueError(f"I2_S packs multiples of {BLOCK} weights, not {codes.size}")
    fields = (np.ascontiguousarray(codes, np.int8).reshape(-1, 4, 32) + 1).view(np.uint8)
    if fields.size and fields.max() > 2:
        raise ValueError("I2_S holds the codes -1, 0 and 1 alone")
    return np.bitwise_or.reduce(fields << SHIFTS, axis=1).reshape(-1)


def unpack_i2s(data: np.ndarray, shape: Sequence[int], strict: bool = False) -> np.ndarray:
    """Unpack a uint8 vector into int8 codes of `shape`; the inverse of `pack_i2s`.

    The invalid field 3 reads as 0, as bitnet.cpp's dequantiser has it; with `strict` it raises ValueError.
    """
    fields = (np.asarray(data, np.uint8).reshape(-1, 1, 32) >> SHIFTS) & 3
    invalid = fields == 3
    if strict and invalid.any():
        raise ValueError("I2_S data holds the field 3, which is no ternary weight")
    fields[invalid] = 1
    return fields.view(np.int8).reshape(shape) - np.int8(1)

"""GGUF's numbers: metadata value types, tensor types and how many bytes a tensor of each takes."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np

from sterna.tensor.tensor import TILED, Encoding

MAGIC = b"GGUF"
DEFAULT_ALIGNMENT = 32

BOOL, STRING, ARRAY = 7, 8, 9
SCALARS: dict[int, np.dtype] = {
    0: np.dtype("<u1"),
    1: np.dtype("<i1"),
    2: np.dtype("<u2"),
    3: np.dtype("<i2"),
    4: np.dtype("<u4"),
    5: np.dtype("<i4"),
    6: np.dtype("<f4"),
    BOOL: np.dtype("?"),
    10: np.dtype("<u8"),
    11: np.dtype("<i8"),
    12: np.dtype("<f8"),
}
SCALAR_TYPES = {dtype: number for number, dtype in SCALARS.items()}

ENCODINGS = {
    0: Encoding.F32,
    1: Encoding.F16,
    2: Encoding.Q4_0,
    3: Encoding.Q4_1,
    6: Encoding.Q5_0,
    7: Encoding.Q5_1,
    8: Encoding.Q8_0,
    10: Encoding.Q2_K,
    11: Encoding.Q3_K,
    12: Encoding.Q4_K,
    13: Encoding.Q5_K,
    14: Encoding.Q6_K,
    30: Encoding.BF16,
    34: Encoding.TQ1_0,
    35: Encoding.TQ2_0,
    36: Encoding.I2_S,
}
TENSOR_TYPES = {encoding: number for number, encoding in ENCODINGS.items()}

BLOCKS = {
    Encoding.F32: (1, 4),
    Encoding.F16: (1, 2),
    Encoding.BF16: (1, 2),
    Encoding.Q4_0: (32, 18),
    Encoding.Q4_1: (32, 20),
    Encoding.Q5_0: (32, 22),
    Encoding.Q5_1: (32, 24),
    Encoding.Q8_0: (32, 34),
    Encoding.Q2_K: (256, 84),
    Encoding.Q3_K: (256, 110),
    Encoding.Q4_K: (256, 144),
    Encoding.Q5_K: (256, 176),
    Encoding.Q6_K: (256, 210),
    Encoding.I2_S: (128, 32),
    Encoding.TQ1_0: (256, 54),
    Encoding.TQ2_0: (256, 66),
}
"""Weights in a block, and its bytes."""

I2_S_TAIL = 32
"""After the codes of an I2_S tensor: its float32 scale and 28 bytes that mean nothing."""

OTHER_TYPES = {
    9: "Q8_1",
    15: "Q8_K",
    24: "I8",
    25: "I16",
    26: "I32",
    27: "I64",
    28: "F64",
}
"""Tensor types that have a name, for error messages."""


def data_bytes(encoding: Encoding, shape: Sequence[int]) -> int:
    """Bytes of the weights of a tensor, without I2_S's tail; ValueError where no whole number of blocks fits.

    Blocks run along the rows, but those of I2_S over the flattened matrix. TL1 and TL2 have none (`gguf/tl.py`).
    """
    if encoding in TILED:
        raise ValueError(f"{encoding.name} is read, but never written")
    block, size = BLOCKS[encoding]
    count = prod(shape)
    if (count if encoding is Encoding.I2_S else shape[-1]) % block:
        raise ValueError(
            f"{encoding.name} keeps blocks of {block} weights, which the shape {list(shape)} does not fill"
        )
    return count // block * size

"""GGUF's numbers: metadata value types, tensor types and how many bytes a tensor of each takes."""

from __future__ import annotations

import numpy as np

from sterna.tensor.encodings import Encoding

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

ENCODINGS = {encoding.gguf_type: encoding for encoding in Encoding if encoding.gguf_type is not None}

I2_S_TAIL = 32
"""Bytes after the codes of an I2_S tensor: its float32 scale, and 28 without meaning."""

OTHER_TYPES = {
    9: "Q8_1",
    15: "Q8_K",
    16: "IQ2_XXS",
    17: "IQ2_XS",
    18: "IQ3_XXS",
    19: "IQ1_S",
    21: "IQ3_S",
    22: "IQ2_S",
    23: "IQ4_XS",
    24: "I8",
    25: "I16",
    26: "I32",
    27: "I64",
    28: "F64",
    29: "IQ1_M",
    134: "IQ1_BN of ik_llama.cpp",
    135: "IQ2_BN of ik_llama.cpp",
}
"""Names of tensor types that Sterna does not read, for error messages."""

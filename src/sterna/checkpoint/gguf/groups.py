"""Codes in groups of columns as blocks of GGUF's types: of 32 columns Q4_0, Q4_1 and Q8_0, signs of 128 as Q1_0."""

from __future__ import annotations

import numpy as np

from sterna.checkpoint.hf.quantized.groups import GroupCodes
from sterna.checkpoint.hf.quantized.signs import Signs
from sterna.errors import UnsupportedError
from sterna.tensor.encodings import Encoding
from sterna.tensor.tensor import Tensor
from sterna.ternary.blocks import Q4_0, Q8_0
from sterna.ternary.group_scaled import Q1_0
from sterna.ternary.kquants import Q4_1

BLOCK = 32


def blocks(name: str, matrix: GroupCodes | Signs) -> Tensor:
    """The matrix in the type that holds it: signs in Q1_0; codes with all zero points in the middle in Q4_0 or Q8_0,
    others in Q4_1, whose minimum -zero * scale is rounded to float16. Raises UnsupportedError where none does."""
    if isinstance(matrix, Signs):
        return _signs(name, matrix)
    middle = bool((matrix.zeros == 1 << matrix.bits - 1).all())
    rows, columns = matrix.codes.shape
    by_columns = matrix.index is not None or matrix.is_rotated or matrix.group_size % BLOCK
    if by_columns or not (matrix.bits == 4 or (matrix.bits == 8 and middle)):
        raise UnsupportedError(
            f"No type of GGUF holds {matrix.bits} bits in groups of {matrix.group_size} columns: GGUF takes 4 bits, or "
            "8 with --symmetric, in groups of 32, 64 or 128 columns in the model's order."
        )
    encoding = Encoding.Q8_0 if matrix.bits == 8 else Encoding.Q4_0 if middle else Encoding.Q4_1
    made = np.empty((rows, columns // BLOCK), {Encoding.Q8_0: Q8_0, Encoding.Q4_0: Q4_0}.get(encoding, Q4_1))
    scales, zeros = (
        np.repeat(values, matrix.group_size // BLOCK, axis=1).astype(np.float32)
        for values in (matrix.scales, matrix.zeros)
    )
    made["d"] = scales
    if encoding is Encoding.Q4_1:
        made["m"] = -zeros * scales
    codes = matrix.codes.reshape(*made.shape, BLOCK)
    if encoding is Encoding.Q8_0:
        made["qs"] = codes.astype(np.int16) - 128
    else:
        made["qs"] = codes[..., : BLOCK // 2] | codes[..., BLOCK // 2 :] << 4
    return Tensor(name, (rows, columns), encoding, made.reshape(-1).view(np.uint8))


def _signs(name: str, matrix: Signs) -> Tensor:
    if matrix.bits_set.shape[1] != Q1_0.block * matrix.scales.shape[1]:
        raise UnsupportedError(f"GGUF keeps signs in groups of {Q1_0.block} columns.")
    data = Q1_0.pack(matrix.signs, matrix.scales.reshape(-1))
    return Tensor(name, matrix.bits_set.shape, Encoding.Q1_0, data.reshape(-1))

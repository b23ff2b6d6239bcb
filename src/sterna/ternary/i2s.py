"""I2_S, bitnet.cpp's layout of ternary weights (GGUF tensor type 36): four codes (weight + 1) in a byte.

The flattened row-major matrix is cut into groups of four runs of weights. Byte b of a group holds weight b of each run,
the first run in bits 7:6, the last in bits 1:0. The length of a run depends on the machine that wrote a file, and the
file does not record it (bitnet.cpp `src/ggml-bitnet-mad.cpp`, `quantize_i2_s`):

- `x86`: 32, so 128 weights in 32 bytes. All published files, and what Sterna's kernels read.
- `arm`: 16, so 64 weights in 16 bytes.
- `x86-rows`: a row of the matrix, so four rows in a group (x86 without ACT_PARALLEL).

A file keeps one float32 scale after the codes; the functions here leave it out.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np

BLOCK = 128
LAYOUTS = ("x86", "arm", "x86-rows")
_ZEROS = np.array([sum((byte >> shift) & 3 == 1 for shift in (0, 2, 4, 6)) for byte in range(256)])
"""How many of the four fields in a byte are 1, which stands for the weight 0."""


def pack_i2s(codes: np.ndarray, layout: str = "x86") -> np.ndarray:
    """Packs int8 codes of {-1, 0, 1}, any shape whose size is a multiple of 128, into a uint8 vector of size/4 bytes.

    Raises ValueError for another size, another code, or (in `x86-rows`) rows that are no multiple of 4.
    """
    if codes.size % BLOCK:
        raise ValueError(f"I2_S packs multiples of {BLOCK} weights, not {codes.size}")
    fields = (np.ascontiguousarray(codes, np.int8) + 1).view(np.uint8)
    if fields.size and fields.max() > 2:
        raise ValueError("I2_S holds the codes -1, 0 and 1 alone")
    return _pack(fields, _run(layout, codes.shape))


def unpack_i2s(data: np.ndarray, shape: Sequence[int], strict: bool = False, layout: str = "x86") -> np.ndarray:
    """Unpacks a uint8 vector into int8 codes of `shape`; the inverse of `pack_i2s`.

    The invalid field 3 reads as 0, as in bitnet.cpp's dequantiser; with `strict` it raises ValueError.
    """
    fields = _unpack(data, _run(layout, shape))
    invalid = fields == 3
    if strict and invalid.any():
        raise ValueError("I2_S data holds the field 3, which is no ternary weight")
    fields[invalid] = 1
    return fields.view(np.int8).reshape(shape) - np.int8(1)


def count_zeros(data: np.ndarray) -> int:
    """How many weights of a uint8 vector, in any layout, are 0."""
    return int(np.bincount(data, minlength=256) @ _ZEROS)


def i2s_to_x86(data: np.ndarray, shape: Sequence[int], layout: str) -> np.ndarray:
    """The codes of a matrix of `shape`, stored in `layout`, in the x86 layout; raises as `pack_i2s` does."""
    run, result = _run(layout, shape), np.empty_like(data)
    # A multiple of 128 * run bytes is whole groups in both layouts, whatever the run.
    step = 128 * run * -(-(1 << 20) // (128 * run))
    for at in range(0, data.size, step):
        result[at : at + step] = _pack(_unpack(data[at : at + step], run), 32)
    return result


def _run(layout: str, shape: Sequence[int]) -> int:
    """The length of a run."""
    if layout != "x86-rows":
        return {"x86": 32, "arm": 16}[layout]
    if prod(shape[:-1]) % 4:
        raise ValueError(f"the layout x86-rows holds multiples of 4 rows, not {prod(shape[:-1])}")
    return shape[-1]


def _pack(fields: np.ndarray, run: int) -> np.ndarray:
    runs = _words(fields, run).reshape(-1, 4, run // _word(run).itemsize)
    return (runs[:, 0] << 6 | runs[:, 1] << 4 | runs[:, 2] << 2 | runs[:, 3]).reshape(-1).view(np.uint8)


def _unpack(data: np.ndarray, run: int) -> np.ndarray:
    """Fields, a byte each, in the order of the weights."""
    words = _words(data, run).reshape(-1, run // _word(run).itemsize)
    threes = words.dtype.type(int.from_bytes(b"\3" * words.itemsize, "little"))
    return np.stack([(words >> shift) & threes for shift in (6, 4, 2, 0)], axis=1).reshape(-1).view(np.uint8)


def _word(run: int) -> np.dtype:
    """Eight bytes at a time where the run is a multiple of eight; masks keep the fields of neighbouring bytes apart."""
    return np.dtype(np.uint64 if run % 8 == 0 else np.uint8)


def _words(data: np.ndarray, run: int) -> np.ndarray:
    return np.ascontiguousarray(data, np.uint8).reshape(-1).view(_word(run))

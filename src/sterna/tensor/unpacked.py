"""Float matrices that are ternary in groups of columns ("unpacked", as in Bonsai's float16 files), made small again.

A group is ternary if its numbers are all -s, 0 or s. Its scale is s, its largest magnitude: a mean would shrink it by
the share of zeros. Floats are compared as integers, in whose order magnitudes are too.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from sterna.tensor.decode import as_float32, decode
from sterna.tensor.encodings import Encoding, TernaryBlocks
from sterna.tensor.tensor import Tensor
from sterna.tensor.ternary import pack_ternary
from sterna.ternary.floats import exact_float16

BITS = {Encoding.F32: np.uint32, Encoding.F16: np.uint16, Encoding.BF16: np.uint16}
CHUNK_WEIGHTS = 1 << 18
"""Weights that are compared at a time: as many as stay in a processor's cache."""

Groups = tuple[np.ndarray, np.ndarray]
"""Int8 codes [rows, in] and float32 scales [rows, in / group]."""


def float_groups(tensor: Tensor, group: int) -> Groups | None:
    """Codes and scales of a float matrix that is ternary in groups of `group` columns, else None. A group of zeros has
    the scale 0."""
    codes, scales = [], []
    for part in _parts(tensor, group):
        if part is None:
            return None
        codes.append(part[0])
        scales.append(part[1])
    return np.concatenate(codes), np.concatenate(scales)


def pack_groups(tensor: Tensor, encoding: Encoding) -> tuple[Tensor, float] | None:
    """A float matrix that is ternary in the blocks of `encoding` in that encoding, and the largest relative change of a
    scale, else None. Raises as `pack_ternary` does."""
    packing = encoding.packing
    if not isinstance(packing, TernaryBlocks) or packing.group is None:
        return None
    packed = []
    for part in _parts(tensor, packing.group):
        if part is None:
            return None
        packed.append(pack_ternary(tensor.name, *part, encoding))
    data = np.concatenate([part.data for part, _ in packed])
    return Tensor(tensor.name, tensor.shape, encoding, data), max(change for _, change in packed)


def exact_encoding(tensor: Tensor) -> Encoding | None:
    """The encoding that holds a float matrix exactly: Q1_0, PQ2_0 or Q2_0, where it is binary or ternary in their
    blocks and its scales are float16 numbers; None for any other matrix, and for one of zeros."""
    for encoding in (Encoding.PQ2_0, Encoding.Q2_0):
        nonzero = 0
        for part in _parts(tensor, encoding.block):
            if part is None or exact_float16(part[1]) is None:
                break
            nonzero += int(np.count_nonzero(part[0]))
        else:
            if nonzero == 0:
                return None
            is_binary = nonzero == tensor.shape[0] * tensor.shape[1]
            return Encoding.Q1_0 if is_binary and encoding is Encoding.PQ2_0 else encoding
    return None


def _parts(tensor: Tensor, group: int) -> Iterator[Groups | None]:
    """The codes and scales of parts of a float matrix, from the first rows to the last; None for a part that is not
    ternary in groups, and then nothing more."""
    rows, columns = tensor.shape
    if columns % group:
        yield None
        return
    if tensor.encoding not in BITS:
        tensor = as_float32(tensor)
    step = max(CHUNK_WEIGHTS // columns, 1)
    # Most matrices that are not ternary fail in their first row.
    for first, last in [(0, 1), *((first, min(first + step, rows)) for first in range(1, rows, step))]:
        part = tensor.rows(first, last)
        found = _groups(part, group)
        yield found
        if found is None:
            return


def _groups(tensor: Tensor, group: int) -> Groups | None:
    bits = tensor.data.view(BITS[tensor.encoding]).reshape(tensor.shape[0], -1, group)
    sign = bits.dtype.type(1 << 8 * bits.itemsize - 1)
    magnitude = bits & (sign - bits.dtype.type(1))
    largest: np.ndarray = magnitude.max(axis=-1)
    nonzero = magnitude != 0
    if (nonzero & (magnitude != largest[..., None])).any():
        return None
    scales = decode(Tensor(tensor.name, largest.shape, tensor.encoding, largest.reshape(-1).view(np.uint8)))
    if not np.isfinite(scales).all():
        return None
    codes = nonzero.view(np.int8) - 2 * (nonzero & (bits >= sign)).view(np.int8)
    return codes.reshape(tensor.shape), scales

"""Float matrices that are ternary in groups of columns ("unpacked", as in Bonsai's float16 files), made small again."""

from __future__ import annotations

import numpy as np

from sterna.tensor.decode import decode
from sterna.tensor.encodings import Encoding, TernaryBlocks
from sterna.tensor.tensor import Tensor
from sterna.tensor.ternary import pack_ternary
from sterna.ternary.quantize import group_scales


def float_groups(tensor: Tensor, group: int) -> tuple[np.ndarray, np.ndarray] | None:
    """Int8 codes [out, in] and float32 scales [out, in / group] of a float matrix in which each group of columns holds
    only -s, 0 and s, with the group's own s (an "unpacked" ternary matrix), else None."""
    if tensor.shape[-1] % group:
        return None
    codes, scales = np.empty(tensor.shape, np.int8), []
    for first, last in tensor.row_chunks():
        values = decode(tensor.rows(first, last))
        found = group_scales(values, group)
        if found is None:
            return None
        codes[first:last] = np.sign(values)
        scales.append(found)
    return codes, np.concatenate(scales)


def pack_groups(tensor: Tensor, encoding: Encoding) -> tuple[Tensor, float] | None:
    """A float matrix that is ternary in the blocks of `encoding` (`float_groups`) in that encoding, and the largest
    relative change of a scale, else None; works in chunks of rows. Raises as `pack_ternary` does."""
    packing = encoding.packing
    if not isinstance(packing, TernaryBlocks) or packing.group is None:
        return None
    packed = []
    for first, last in tensor.row_chunks():
        found = float_groups(tensor.rows(first, last), packing.group)
        if found is None:
            return None
        packed.append(pack_ternary(tensor.name, *found, encoding))
    data = np.concatenate([part.data for part, _ in packed])
    return Tensor(tensor.name, tensor.shape, encoding, data), max(change for _, change in packed)


def exact_encoding(tensor: Tensor) -> Encoding | None:
    """The encoding that holds a float matrix exactly: Q1_0, PQ2_0 or Q2_0, where it is binary or ternary in their
    blocks and its scales are float16 numbers; None for any other matrix, and for one of zeros."""
    for encoding in (Encoding.PQ2_0, Encoding.Q2_0):
        zeros = count = 0
        for first, last in tensor.row_chunks():
            found = float_groups(tensor.rows(first, last), encoding.block)
            if found is None or not np.array_equal(found[1], found[1].astype(np.float16)):
                break
            zeros += int(np.count_nonzero(found[0] == 0))
            count += found[0].size
        else:
            if zeros == count:
                return None
            return Encoding.Q1_0 if zeros == 0 and encoding is Encoding.PQ2_0 else encoding
    return None

"""The packing of ternary matrices in Hugging Face folders (transformers, `integrations/bitnet.py`).

A matrix [out, in] is uint8 [out/4, in]; the bits 2i, 2i+1 of row r hold the code (weight + 1) of row i * out/4 + r.
"""

from __future__ import annotations

import numpy as np

SHIFTS = np.array([0, 2, 4, 6], np.uint8)[:, None, None]


def pack_hf(codes: np.ndarray) -> np.ndarray:
    """Packs int8 codes [out, in] of {-1, 0, 1} into uint8 [out/4, in]; raises ValueError unless 4 divides out."""
    rows, columns = codes.shape
    if rows % 4:
        raise ValueError(f"the packed form needs a multiple of 4 rows, not {rows}")
    fields = (np.asarray(codes, np.int8) + 1).view(np.uint8)
    if fields.size and fields.max() > 2:
        raise ValueError("the packed form holds the codes -1, 0 and 1 alone")
    return np.bitwise_or.reduce(fields.reshape(4, rows // 4, columns) << SHIFTS, axis=0)


def unpack_hf(packed: np.ndarray) -> np.ndarray:
    """Unpacks uint8 [out/4, in] into int8 codes [out, in]; raises ValueError for the field 3, which is no weight."""
    rows, columns = packed.shape
    fields = (np.asarray(packed, np.uint8) >> SHIFTS) & 3
    if fields.size and fields.max() > 2:
        raise ValueError("the packed matrix holds the field 3, which is no ternary weight")
    return fields.reshape(4 * rows, columns).view(np.int8) - np.int8(1)

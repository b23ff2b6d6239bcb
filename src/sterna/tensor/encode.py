"""Encodes float values in the encodings that Sterna writes; `decode` is the inverse."""

from __future__ import annotations

import numpy as np

from sterna.tensor.encodings import Encoding, FloatBlocks
from sterna.tensor.tensor import Tensor


def encode(name: str, values: np.ndarray, encoding: Encoding, importance: np.ndarray | None = None) -> Tensor:
    """A tensor of float `values` in a float encoding that Sterna writes; the rows must fill the blocks of `encoding`.

    `importance`: of each column, float32 [columns], none of them negative; squared errors are weighted with it where
    the encoding leaves a choice. None: all columns count alike."""
    packing = encoding.packing
    assert isinstance(packing, FloatBlocks) and packing.encode is not None
    values = np.ascontiguousarray(values, np.float32)
    if importance is None or packing.encode_weighted is None:
        stored = packing.encode(values.reshape(-1))
    else:
        stored = packing.encode_weighted(values, importance)
    return Tensor(name, values.shape, encoding, np.ascontiguousarray(stored).view(np.uint8))

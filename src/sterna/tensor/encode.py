"""Encodes float values in the encodings that Sterna writes; `decode` is the inverse."""

from __future__ import annotations

import numpy as np

from sterna.tensor.encodings import Encoding, FloatBlocks
from sterna.tensor.tensor import Tensor


def encode(name: str, values: np.ndarray, encoding: Encoding) -> Tensor:
    """A tensor of float `values` in a float encoding that Sterna writes; the rows must fill the blocks of
    `encoding`."""
    packing = encoding.packing
    assert isinstance(packing, FloatBlocks) and packing.encode is not None
    stored = packing.encode(np.ascontiguousarray(values, np.float32).reshape(-1))
    return Tensor(name, values.shape, encoding, np.ascontiguousarray(stored).view(np.uint8))

"""Float values into the encodings that Sterna writes; what `decode` reads."""

from __future__ import annotations

import numpy as np

from sterna.tensor.encodings import Encoding, FloatBlocks
from sterna.tensor.tensor import Tensor


def encode(name: str, values: np.ndarray, encoding: Encoding) -> Tensor:
    """A tensor of float `values`, any shape whose rows fill the blocks of `encoding`, a float one that is written."""
    packing = encoding.packing
    assert isinstance(packing, FloatBlocks) and packing.encode is not None
    stored = packing.encode(np.ascontiguousarray(values, np.float32).reshape(-1))
    return Tensor(name, values.shape, encoding, np.ascontiguousarray(stored).view(np.uint8))

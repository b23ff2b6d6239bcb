"""Float values into the encodings that Sterna writes; what `decode` reads."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from sterna.tensor.tensor import Encoding, Tensor
from sterna.ternary.blocks import quantize_q4_0, quantize_q6_k, quantize_q8_0


def _bf16(values: np.ndarray) -> np.ndarray:
    bits = values.view("<u4")
    rounded = bits + 0x7FFF + ((bits >> 16) & 1)  # to nearest, ties to even
    return (np.where(np.isnan(values), bits | 0x400000, rounded) >> 16).astype("<u2")


ENCODERS: dict[Encoding, Callable[[np.ndarray], np.ndarray]] = {
    Encoding.F32: lambda values: values.astype("<f4"),
    Encoding.F16: lambda values: values.astype("<f2"),
    Encoding.BF16: _bf16,
    Encoding.Q4_0: quantize_q4_0,
    Encoding.Q8_0: quantize_q8_0,
    Encoding.Q6_K: quantize_q6_k,
}
"""Each takes a float32 vector of whole blocks and gives an array of the stored bytes."""


def encode(name: str, values: np.ndarray, encoding: Encoding) -> Tensor:
    """A tensor of float `values`, any shape whose rows fill the blocks of `encoding`, one of `ENCODERS`."""
    stored = ENCODERS[encoding](np.ascontiguousarray(values, np.float32).reshape(-1))
    return Tensor(name, values.shape, encoding, np.ascontiguousarray(stored).view(np.uint8))

"""What a person wants to know of a model: how large, how ternary, how sparse."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import prod

import numpy as np

from sterna.checkpoint.tensor import Encoding, Tensor

CHUNK = 1 << 22
_ZEROS_IN_BYTE = np.array([sum((byte >> shift) & 3 == 1 for shift in (0, 2, 4, 6)) for byte in range(256)])
"""How many of the four codes in a byte are 1, which stands for the weight 0."""


@dataclass(frozen=True)
class Summary:
    """Totals over all tensors of a model."""

    parameters: int
    ternary_parameters: int
    zero_fraction: float
    """Share of zeros among the ternary parameters; 0 where there are none."""
    bits_per_weight: float
    bytes: int
    """Bytes of all tensors as stored."""


def summarize(tensors: Iterable[Tensor]) -> Summary:
    """Counts parameters, bytes and the zeros among I2_S codes; reads every ternary byte once."""
    parameters = ternary = zeros = size = 0
    for tensor in tensors:
        count = prod(tensor.shape)
        parameters += count
        size += tensor.data.nbytes
        if tensor.encoding is Encoding.I2_S:
            ternary += count
            for at in range(0, len(tensor.data), CHUNK):
                histogram = np.bincount(tensor.data[at : at + CHUNK], minlength=256)
                zeros += int(histogram @ _ZEROS_IN_BYTE)
    return Summary(
        parameters=parameters,
        ternary_parameters=ternary,
        zero_fraction=zeros / ternary if ternary else 0.0,
        bits_per_weight=8 * size / parameters if parameters else 0.0,
        bytes=size,
    )

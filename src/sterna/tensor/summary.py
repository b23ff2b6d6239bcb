"""What a person wants to know of a model: how large, how ternary, how sparse."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from math import prod

import numpy as np

from sterna.tensor.decode import ternary_codes
from sterna.tensor.tensor import TERNARY, TILED, Encoding, Tensor
from sterna.ternary.tq import TQ1_0, TQ2_0

_PAIRS = np.array([sum((byte >> shift) & 3 == 1 for shift in (0, 2, 4, 6)) for byte in range(256)])
"""How many of the four fields in a byte of I2_S or TQ2_0 are 1, which stands for the weight 0."""
_DIGITS = np.array([[byte * power % 256 * 3 >> 8 == 1 for power in (1, 3, 9, 27, 81)] for byte in range(256)])
"""Which of the five fields in a byte of TQ1_0 are 1 (`sterna.ternary.tq`)."""


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
    """Counts parameters, bytes and the zeros among ternary weights; reads every ternary byte once."""
    parameters = ternary = zeros = size = 0
    for tensor in tensors:
        count = prod(tensor.shape)
        parameters += count
        size += tensor.data.nbytes
        if tensor.encoding in TERNARY:
            ternary += count
            zeros += sum(_zeros(tensor.rows(*chunk)) for chunk in tensor.row_chunks())
    return Summary(
        parameters=parameters,
        ternary_parameters=ternary,
        zero_fraction=zeros / ternary if ternary else 0.0,
        bits_per_weight=8 * size / parameters if parameters else 0.0,
        bytes=size,
    )


@dataclass(frozen=True)
class Part:
    """Tensors of the same name in all layers, and of the same encoding."""

    name: str
    """Without the number of the layer: `attn_q.weight`."""
    type: str
    ternary: bool
    tensors: int
    parameters: int
    bytes: int


def parts(tensors: Iterable[Tensor]) -> list[Part]:
    """A model's tensors, layers taken together, in order of first appearance."""
    found: dict[tuple[str, str], Part] = {}
    for tensor in tensors:
        name = tensor.name.split(".", 2)[-1] if tensor.name.startswith("blk.") else tensor.name
        key = name, tensor.encoding.value
        part = found.get(key) or Part(name, tensor.encoding.value, tensor.encoding in TERNARY, 0, 0, 0)
        found[key] = replace(
            part,
            tensors=part.tensors + 1,
            parameters=part.parameters + prod(tensor.shape),
            bytes=part.bytes + tensor.data.nbytes,
        )
    return list(found.values())


def _zeros(tensor: Tensor) -> int:
    """How many codes of a ternary tensor are 0."""
    if tensor.encoding is Encoding.TQ1_0:
        packed = tensor.data.view(TQ1_0)["q"]
        return _count(packed[:, :48], _DIGITS.sum(axis=1)) + _count(packed[:, 48:], _DIGITS[:, :4].sum(axis=1))
    if tensor.encoding in TILED:
        return int(np.count_nonzero(ternary_codes(tensor)[0] == 0))
    return _count(tensor.data if tensor.encoding is Encoding.I2_S else tensor.data.view(TQ2_0)["q"], _PAIRS)


def _count(packed: np.ndarray, table: np.ndarray) -> int:
    """The sum over all bytes of what the table says for each."""
    return int(np.bincount(packed.reshape(-1), minlength=256) @ table)

"""Figures that describe a model to people: its size, its share of ternary weights, its share of zeros."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from math import prod

import numpy as np

from sterna.errors import FormatError
from sterna.tensor.decode import decode, ternary_codes
from sterna.tensor.encodings import TernaryBlocks
from sterna.tensor.tensor import Tensor
from sterna.tensor.unpacked import exact_encoding

LOOKED_AT = 256
"""How many weights (of a tensor in tiles: bytes) at the beginning of a tensor are compared first."""


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
        if tensor.encoding.is_ternary:
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
    """A model's tensors, summed over layers, in order of first appearance."""
    found: dict[tuple[str, str], Part] = {}
    for tensor in tensors:
        name = tensor.name.split(".", 2)[-1] if tensor.name.startswith("blk.") else tensor.name
        key = name, tensor.encoding.value
        part = found.get(key) or Part(name, tensor.encoding.value, tensor.encoding.is_ternary, 0, 0, 0)
        found[key] = replace(
            part,
            tensors=part.tensors + 1,
            parameters=part.parameters + prod(tensor.shape),
            bytes=part.bytes + tensor.data.nbytes,
        )
    return list(found.values())


def unpacked(tensors: Iterable[Tensor]) -> dict[str, int]:
    """How many float matrices hold ternary or binary weights in groups of columns, by the encoding that holds them
    exactly. Of other matrices the first row alone is compared."""
    floats = (tensor for tensor in tensors if tensor.encoding.is_float and len(tensor.shape) == 2)
    return dict(Counter(found.value for tensor in floats if (found := exact_encoding(tensor)) is not None))


def one_value(tensor: Tensor) -> float | None:
    """The value that all weights of a tensor have; None where two differ, or where it cannot be decoded.

    In a matrix that was trained some of the first weights differ, so the rest is read in broken ones alone.
    """
    try:
        if _differs_at_once(tensor):
            return None
        values = (decode(tensor.rows(*chunk)) for chunk in tensor.row_chunks())
        first = next(values)
        value = float(first.flat[0]) + 0.0  # of two zeros the positive one
        return value if (first == value).all() and all((others == value).all() for others in values) else None
    except FormatError:
        return None


def _differs_at_once(tensor: Tensor) -> bool:
    """Whether two of a tensor's first weights differ. Tiles are compared as bytes, because equal weights have equal
    bytes."""
    if tensor.encoding.is_tiled:
        return bool((tensor.data[:LOOKED_AT] != tensor.data[0]).any())
    block, size = tensor.encoding.block, tensor.encoding.block_bytes
    count = min(-(-LOOKED_AT // block), tensor.data.size // size)
    values = decode(replace(tensor, shape=(1, count * block), data=tensor.data[: count * size]))
    return bool((values != values[0, 0]).any())


def _zeros(tensor: Tensor) -> int:
    """How many codes of a ternary tensor are 0."""
    packing = tensor.encoding.packing
    if isinstance(packing, TernaryBlocks):
        return packing.zeros(tensor.data)
    return int(np.count_nonzero(ternary_codes(tensor)[0] == 0))

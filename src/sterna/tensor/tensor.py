"""The description of a tensor for all readers and writers: name, shape, encoding and where its bytes are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from math import prod

import numpy as np

from sterna.tensor.encodings import Encoding, TernaryBlocks

CHUNK_WEIGHTS = 1 << 23
"""Weights that are processed at a time where a whole matrix would take too much memory."""


@dataclass(frozen=True)
class Tensor:
    """A named matrix or vector whose bytes stay where they are (usually in a mapped file).

    `shape` is row-major, `(out_features, in_features)` for a matrix. `data` is a read-only uint8 vector of exactly
    the bytes that the encoding needs (for I2_S, TL1 and TL2: the codes alone, without the file's trailing scale).
    `scale` multiplies ternary codes: `W = scale * codes`, in TQ1_0 and TQ2_0 in addition to the scales of groups of
    columns; it is 1.0 for every other encoding.
    """

    name: str
    shape: tuple[int, ...]
    encoding: Encoding
    data: np.ndarray
    scale: float = 1.0

    def rows(self, first: int, last: int) -> Tensor:
        """The rows from `first` to before `last` as a tensor over the same bytes.

        Raises ValueError where the rows do not begin and end with a block, which happens in I2_S, and for a part of a
        matrix in tiles.
        """
        count = self.shape[0]
        begin, end = divmod(self.data.size * first, count), divmod(self.data.size * last, count)
        packing = self.encoding.packing
        flat = isinstance(packing, TernaryBlocks) and packing.flat
        block = self.data.size if self.encoding.is_tiled else self.encoding.block_bytes if flat else 1
        if not 0 <= first <= last <= count or begin[1] or end[1] or begin[0] % block or end[0] % block:
            raise ValueError(f"the rows {first} to {last} of {self.name!r} are no whole blocks")
        return replace(self, shape=(last - first, *self.shape[1:]), data=self.data[begin[0] : end[0]])

    def row_chunks(self) -> Iterator[tuple[int, int]]:
        """First and last row (exclusive) of chunks of about `CHUNK_WEIGHTS` that `rows` can take."""
        count = self.shape[0]
        # Whole blocks of I2_S: 128 rows are always a multiple of 128 weights.
        step = max(CHUNK_WEIGHTS // prod(self.shape[1:]) // 128, 1) * 128
        if self.encoding.is_tiled:
            step = count
        for first in range(0, count, step):
            yield first, min(first + step, count)

    def parts(self) -> Iterable[Tensor]:
        """The tensor as a stream of one part."""
        return (self,)


@dataclass(frozen=True)
class TensorStream:
    """A tensor that is made when it is needed: `make` gives its parts, each of whole rows, in order.

    A ternary tensor comes in one part, because its scale belongs to all of it.
    """

    name: str
    shape: tuple[int, ...]
    encoding: Encoding
    make: Callable[[], Iterable[Tensor]]

    def parts(self) -> Iterable[Tensor]:
        """Its parts, made anew in every call."""
        return self.make()


AnyTensor = Tensor | TensorStream


def whole(tensor: AnyTensor) -> Tensor:
    """The only part of a tensor that comes in one."""
    (part,) = tensor.parts()
    return part

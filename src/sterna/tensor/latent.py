"""Latent weights as what their quantiser makes of them: matrices of one scale, or of one for each group of columns."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from sterna.errors import FormatError
from sterna.tensor.decode import decode
from sterna.tensor.encodings import Encoding
from sterna.tensor.pages import release
from sterna.tensor.tensor import Tensor, TensorStream
from sterna.tensor.ternary import pack_ternary
from sterna.ternary import pack_i2s
from sterna.ternary.groups import GroupQuantizer


def in_groups(tensor: Tensor, quantizer: GroupQuantizer) -> TensorStream:
    """A matrix of latent weights as the ternary or binary one that it stands for, in the encoding of `group_encoding`.

    Making it raises FormatError for values that are not finite, UnsupportedError for scales beyond float16.
    """
    encoding = group_encoding(quantizer)

    def make() -> Iterator[Tensor]:
        packed = []
        for first, last in tensor.row_chunks():
            values = _finite(tensor.rows(first, last))
            packed.append(pack_ternary(tensor.name, *quantizer(values), encoding)[0].data)
        yield Tensor(tensor.name, tensor.shape, encoding, np.concatenate(packed))
        release(tensor.data)

    return TensorStream(tensor.name, tensor.shape, encoding, make)


def in_one_scale(tensor: Tensor, quantizer: Callable[[np.ndarray], tuple[np.ndarray, float]]) -> TensorStream:
    """A matrix of latent weights as the ternary or binary one that `sterna.ternary.quantize` makes of it, with one
    scale, in I2_S.

    Making it raises FormatError for values that are not finite.
    """

    def make() -> Iterator[Tensor]:
        codes, scale = quantizer(_finite(tensor))
        yield Tensor(tensor.name, tensor.shape, Encoding.I2_S, pack_i2s(codes), scale)
        release(tensor.data)

    return TensorStream(tensor.name, tensor.shape, Encoding.I2_S, make)


def group_encoding(quantizer: GroupQuantizer) -> Encoding:
    """The encoding whose blocks are the quantiser's groups of 64 or 128: Q2_0, PQ2_0, or Q1_0 of binary weights."""
    if quantizer.group_size == Encoding.Q2_0.block:
        return Encoding.Q2_0
    return Encoding.Q1_0 if quantizer.zeros == 0 else Encoding.PQ2_0


def _finite(tensor: Tensor) -> np.ndarray:
    """The values of a matrix. Raises FormatError where one is not finite."""
    values = decode(tensor)
    if not np.isfinite(values).all():
        raise FormatError(f"The matrix {tensor.name!r} has values that are not finite.")
    return values

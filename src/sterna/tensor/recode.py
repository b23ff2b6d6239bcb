"""Converts tensors to another encoding, part by part while they are written. Ternary codes do not change."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from sterna.errors import FormatError, UnsupportedError
from sterna.tensor.decode import as_float32, decode
from sterna.tensor.encode import encode
from sterna.tensor.encodings import Encoding
from sterna.tensor.pages import release
from sterna.tensor.tensor import AnyTensor, Tensor, TensorStream, whole
from sterna.tensor.ternary import float_ternary, pack_ternary, ternary_codes
from sterna.tensor.ternary import recode as recode_ternary
from sterna.tensor.unpacked import exact_encoding, float_groups, pack_groups
from sterna.ternary import absmean, pack_i2s, unpack_i2s

F16_LIMIT = 65520
"""The least number that float16 rounds to infinity."""


@dataclass
class Changes:
    """What a conversion could not keep exactly; filled in while its tensors are made."""

    scale: float = 0.0
    """Largest relative change of the scale of a ternary matrix."""


def recode(
    tensor: AnyTensor,
    encoding: Encoding,
    changes: Changes,
    latent: bool = False,
    importance: np.ndarray | None = None,
) -> AnyTensor:
    """`tensor` in an encoding whose blocks its rows fill; it is made when its parts are asked for.

    A float matrix can become ternary if its values are all in {-s, 0, s}, with one s for all or for every block of
    `encoding`, or, by absmean, if it is `latent`. Making any other float matrix ternary raises UnsupportedError, as
    does a value or scale beyond the range of the encoding. `importance` of a float matrix's columns: as in `encode`.
    """
    if tensor.encoding is encoding and not _has_factor(tensor):
        return tensor
    if encoding.is_ternary:
        make = partial(_ternary, tensor, encoding, changes, latent)
    else:
        make = partial(_floats, tensor, encoding, importance)
    return TensorStream(tensor.name, tensor.shape, encoding, make)


def _has_factor(tensor: AnyTensor) -> bool:
    """Whether a tensor has a factor on top of the scales of its blocks, as in older files; no format that is written
    holds one."""
    return isinstance(tensor, Tensor) and tensor.encoding is not Encoding.I2_S and tensor.scale != 1


def codes_of(tensor: Tensor, latent: bool, group: int | None = None) -> tuple[np.ndarray, float | np.ndarray]:
    """Int8 codes [out, in] of a matrix that is ternary or can become ternary in blocks of `group` columns (None: with
    one scale; see `recode`), and scales as in `ternary_codes`."""
    if tensor.encoding.is_ternary:
        return ternary_codes(tensor)
    given = float_ternary(tensor) if group is None else float_groups(tensor, group)
    if given is not None:
        return given
    grouped = exact_encoding(tensor)
    if grouped is not None:
        raise UnsupportedError(
            f"The matrix {tensor.name!r} is ternary with a scale for each group of columns, more than the type keeps: "
            f"choose {grouped.value} or f16."
        )
    if not latent:
        raise UnsupportedError(
            f"The matrix {tensor.name!r} is not ternary, so only training can make it so: "
            "choose another type, such as q8_0 or f16."
        )
    values = decode(tensor)
    if not np.isfinite(values).all():
        raise FormatError(f"The matrix {tensor.name!r} has values that are not finite.")
    return absmean(values)


def _ternary(tensor: AnyTensor, encoding: Encoding, changes: Changes, latent: bool) -> Iterator[Tensor]:
    part = whole(tensor)
    if part.encoding.is_ternary and part.encoding is not encoding:
        packed, change = recode_ternary(part, encoding)
    else:
        unpacked = None if part.encoding.is_ternary else pack_groups(part, encoding)
        packed, change = unpacked or pack_ternary(part.name, *codes_of(part, latent), encoding)
    changes.scale = max(changes.scale, change)
    release(part.data)
    yield packed


def _floats(tensor: AnyTensor, encoding: Encoding, importance: np.ndarray | None) -> Iterator[Tensor]:
    """The tensor in chunks of rows, because a whole head in float32 would fill gigabytes."""
    for part in tensor.parts():
        for first, last in part.row_chunks():
            piece = part.rows(first, last)
            values = decode(piece)
            if encoding is Encoding.F16 and np.abs(values).max(initial=0) >= F16_LIMIT:
                raise UnsupportedError(f"{tensor.name!r} has values beyond the range of F16; choose bf16 or f32.")
            yield encode(tensor.name, values, encoding, importance)
            release(piece.data)


def permute_rows(tensor: AnyTensor, order: np.ndarray) -> TensorStream:
    """The matrix whose row i is row `order[i]` of `tensor`."""

    def make() -> Iterator[Tensor]:
        part = whole(tensor)
        if part.encoding is Encoding.I2_S and part.shape[1] % 128:
            yield replace(part, data=pack_i2s(unpack_i2s(part.data, part.shape)[order]))
        else:
            yield replace(part, data=part.data.reshape(len(order), -1)[order].reshape(-1))

    return TensorStream(tensor.name, tensor.shape, tensor.encoding, make)


def permute_blocks(tensor: AnyTensor, order: np.ndarray) -> TensorStream:
    """The matrix whose columns are cut into as many runs as `order` has numbers, of which run i is run `order[i]` of
    `tensor`. Where runs are no whole blocks of its encoding, the result has float32 values."""
    encoding, columns = tensor.encoding, tensor.shape[1] // len(order)
    keeps = columns % encoding.block == 0 and encoding is not Encoding.I2_S

    def make() -> Iterator[Tensor]:
        for part in tensor.parts():
            if not keeps:
                part = as_float32(part)
            runs = part.data.reshape(part.shape[0], len(order), -1)[:, order]
            yield replace(part, data=runs.reshape(-1))

    return TensorStream(tensor.name, tensor.shape, encoding if keeps else Encoding.F32, make)


def interleaved_order(rows: int, head_dim: int) -> np.ndarray:
    """The order of rows that makes an interleaved q or k of a half-split one (`permute_rows`): int [rows]."""
    return np.arange(rows).reshape(-1, 2, head_dim // 2).swapaxes(1, 2).reshape(-1)


def half_order(rows: int, head_dim: int) -> np.ndarray:
    """The inverse of `interleaved_order`."""
    return np.arange(rows).reshape(-1, head_dim // 2, 2).swapaxes(1, 2).reshape(-1)

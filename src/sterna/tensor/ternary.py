"""Converts ternary tensors between encodings: codes stay exact, scales as exact as the target can hold them."""

from __future__ import annotations

import warnings
from dataclasses import replace
from math import isfinite

import numpy as np

from sterna.errors import FormatError, UnsupportedError
from sterna.tensor.decode import decode, ternary_codes, tiled_codes
from sterna.tensor.encodings import Encoding, TernaryBlocks, TernaryTiles
from sterna.tensor.tensor import Tensor
from sterna.ternary.blocks import Q4_0
from sterna.ternary.group_scaled import Q1_0_G32
from sterna.ternary.i2s import i2s_to_x86, pack_i2s
from sterna.ternary.quantize import ternary_scale


class RowLengthError(UnsupportedError):
    """The rows of a matrix do not fill the blocks of the encoding that was asked for."""


def float_ternary(tensor: Tensor) -> tuple[np.ndarray, float] | None:
    """Int8 codes and scale of a float tensor whose values are all in {-s, 0, s} (it was ternary once), else None.

    Also None where all values are 0. Most tensors that are not ternary fail on their first values.
    """
    codes, scale = np.empty(tensor.shape, np.int8), 0.0
    for first, last in tensor.row_chunks():
        values = decode(tensor.rows(first, last))
        found = ternary_scale(values)
        if found is None and values.any() or found is not None and (scale not in (0.0, found) or not isfinite(found)):
            return None
        scale = found or scale
        codes[first:last] = np.sign(values)
    return (codes, scale) if scale else None


def pack_ternary(name: str, codes: np.ndarray, scale: float | np.ndarray, encoding: Encoding) -> tuple[Tensor, float]:
    """A tensor of int8 codes [out, in] in a ternary encoding, and the largest relative change of a scale.

    `scale` is one for all, or float32 [out, in / group], as `ternary_codes` gives it. Encodings in blocks round it to
    float16; blocks of zeros get the scale 0 there, as llama.cpp writes them.
    Raises RowLengthError for rows that are no whole blocks, and UnsupportedError where the encoding cannot hold the
    codes (0 in Q1_0) or the scales (different ones in I2_S or in one block, or one beyond float16).
    """
    packing = encoding.packing
    assert isinstance(packing, TernaryBlocks)
    if packing.group is None:
        return _pack_i2s(name, codes, scale)
    if codes.shape[-1] % packing.group:
        raise RowLengthError(
            f"The matrix {name!r} has rows of {codes.shape[-1]} weights; "
            f"{encoding.name} needs multiples of {packing.group}."
        )
    if isinstance(scale, np.ndarray):
        scale = _regrouped(name, codes, scale, encoding)
    nonzero = _nonzero_groups(codes, packing.group)
    exact = np.where(nonzero, np.asarray(scale, np.float64), 0.0)
    with np.errstate(over="ignore"):
        stored = exact.astype(np.float16)
    if not np.isfinite(stored).all() or ((stored == 0) & (exact != 0)).any():
        raise UnsupportedError(
            f"The matrix {name!r} has a scale outside the range of float16, which {encoding.name} needs; "
            "I2_S keeps it in float32."
        )
    assert packing.pack is not None
    try:
        data = packing.pack(codes, stored)
    except ValueError as error:
        raise UnsupportedError(f"The matrix {name!r} cannot be kept: {error}.") from error
    return Tensor(name, codes.shape, encoding, data), _largest_change(exact, stored)


def recode(tensor: Tensor, encoding: Encoding) -> tuple[Tensor, float]:
    """A ternary tensor in another ternary encoding, and the largest relative change of a scale; works in chunks of
    rows. Raises as `ternary_codes` and `pack_ternary` do."""
    tensor = untiled(tensor)
    if tensor.encoding is encoding:
        return tensor, 0.0
    shared = _shared_scale(tensor) if encoding is Encoding.I2_S else None
    parts, changes = [], [0.0]
    for first, last in tensor.row_chunks():
        codes, scale = ternary_codes(tensor.rows(first, last))
        part, change = pack_ternary(tensor.name, codes, scale if shared is None else shared, encoding)
        parts.append(part)
        changes.append(change)
    data = np.concatenate([part.data for part in parts])
    return Tensor(tensor.name, tensor.shape, encoding, data, parts[0].scale), max(changes)


def in_x86_layout(tensor: Tensor, layout: str) -> Tensor:
    """An I2_S tensor that a file keeps in `layout` (`sterna.ternary.i2s.LAYOUTS`), converted to the layout x86, which
    all of Sterna reads; any other tensor as it is. Raises FormatError where its shape does not fit the layout."""
    if tensor.encoding is not Encoding.I2_S or layout == "x86":
        return tensor
    try:
        return replace(tensor, data=i2s_to_x86(tensor.data, tensor.shape, layout))
    except ValueError as error:
        raise FormatError(f"The tensor {tensor.name!r} does not fit its layout: {error}.") from error


def q4_0_of_q1_0(tensor: Tensor) -> Tensor:
    """A tensor in Q1_0_G32 in Q4_0, whose blocks are as long and have a scale of the same kind, so values are equal."""
    codes, scales = Q1_0_G32.unpack(tensor.data, tensor.shape)
    blocks = np.zeros(scales.size, Q4_0)
    blocks["d"] = scales.reshape(-1)
    fields = (codes.reshape(-1, Encoding.Q4_0.block) + 8).astype(np.uint8)  # Q4_0 stands for d * (field - 8)
    blocks["qs"] = fields[:, :16] | fields[:, 16:] << 4
    return Tensor(tensor.name, tensor.shape, Encoding.Q4_0, blocks.view(np.uint8))


def untiled(tensor: Tensor, tl_tiles: str = "preset") -> Tensor:
    """A tensor in TL1 or TL2, converted to I2_S with the same codes and scale; any other tensor as it is.

    `tl_tiles` and FormatError are as in `tiled_codes`.
    """
    packing = tensor.encoding.packing
    if not isinstance(packing, TernaryTiles):
        return tensor
    return _pack_i2s(tensor.name, tiled_codes(tensor, packing, tl_tiles), tensor.scale)[0]


def _pack_i2s(name: str, codes: np.ndarray, scale: float | np.ndarray) -> tuple[Tensor, float]:
    if isinstance(scale, np.ndarray):
        scale = _one_scale(name, set(_scales_in_use(codes, scale)))
    try:
        data = pack_i2s(codes)
    except ValueError as error:
        raise RowLengthError(f"The matrix {name!r} cannot be packed: {error}.") from error
    stored = np.float32(scale)
    if not np.isfinite(stored):
        raise UnsupportedError(f"The matrix {name!r} has a scale outside the range of float32.")
    change = _largest_change(np.asarray([scale], np.float64), np.asarray([stored]))
    return Tensor(name, codes.shape, Encoding.I2_S, data, float(stored)), change


def _shared_scale(tensor: Tensor) -> float:
    """The one scale of all blocks that are not all zero."""
    scales: set[float] = set()
    for first, last in tensor.row_chunks():
        codes, found = ternary_codes(tensor.rows(first, last))
        scales.update(_scales_in_use(codes, np.asarray(found)))
    return _one_scale(tensor.name, scales)


def _one_scale(name: str, scales: set[float]) -> float:
    """The only member of a set of scales; 1 for the empty set, a matrix of zeros."""
    if len(scales) > 1:
        raise UnsupportedError(
            f"The matrix {name!r} has blocks with {len(scales)} different scales, and I2_S keeps one; "
            "TQ1_0, TQ2_0 or F16 can hold it."
        )
    return scales.pop() if scales else 1.0


def _scales_in_use(codes: np.ndarray, scales: np.ndarray) -> list[float]:
    """The distinct values of `scales` [out, groups] among the groups of columns that are not all zero."""
    return np.unique(scales[_nonzero_groups(codes, codes.shape[-1] // scales.shape[-1])]).tolist()


def _regrouped(name: str, codes: np.ndarray, scales: np.ndarray, encoding: Encoding) -> np.ndarray:
    """Scales [out, in / block] for the blocks of `encoding`, from scales [out, in / group] of groups of another length.

    A block that holds several groups needs equal scales of all but the groups of zeros; UnsupportedError otherwise.
    """
    packing = encoding.packing
    assert isinstance(packing, TernaryBlocks) and packing.group is not None
    wanted, given = codes.shape[-1] // packing.group, scales.shape[-1]
    if wanted % given == 0:
        return np.repeat(scales, wanted // given, axis=-1)
    if given % wanted:
        raise UnsupportedError(f"The matrix {name!r} has groups that do not fit the blocks of {encoding.name}.")
    used = np.where(_nonzero_groups(codes, codes.shape[-1] // given), scales, np.nan)
    together = used.reshape(len(used), wanted, given // wanted)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of blocks that are all zero
        least, most = np.nanmin(together, axis=-1), np.nanmax(together, axis=-1)
    if (least != most)[~np.isnan(least)].any():
        raise UnsupportedError(
            f"The matrix {name!r} has a scale for every {codes.shape[-1] // given} weights, and {encoding.name} keeps "
            f"one for {packing.group}; Q2_0 or F16 can hold it."
        )
    return np.nan_to_num(most)


def _nonzero_groups(codes: np.ndarray, group: int) -> np.ndarray:
    """Which groups of columns hold a code other than 0: bool [out, in / group]."""
    return np.asarray(codes.reshape(codes.shape[0], -1, group).any(axis=-1))


def _largest_change(exact: np.ndarray, stored: np.ndarray) -> float:
    """Largest relative difference between stored and exact scales, among the exact ones that are not 0."""
    nonzero = exact != 0
    change = np.abs(stored.astype(np.float64) - exact)[nonzero] / np.abs(exact[nonzero])
    return float(change.max(initial=0.0))

"""Decodes tensors to float32 values, or to ternary codes with their scales."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from sterna.errors import FormatError
from sterna.tensor.encodings import Encoding, FloatBlocks, TernaryTiles
from sterna.tensor.tensor import Tensor

Values = np.ndarray | tuple[np.ndarray, float | np.ndarray]
"""The content of a tensor: float32 values, or numbers with one scale for all or a scale for every group of a row's
columns (float32 [out, groups]): ternary codes (int8), or INT4 codes less their zero points (float32)."""


def decode(tensor: Tensor) -> np.ndarray:
    """The float32 values of a tensor in its shape; those of a ternary one are codes times scales."""
    packing = tensor.encoding.packing
    if isinstance(packing, FloatBlocks):
        return packing.decode(tensor.data).reshape(tensor.shape)
    codes, scale = ternary_codes(tensor)
    if isinstance(scale, float):
        return codes.astype(np.float32) * np.float32(scale)
    values: np.ndarray = codes.reshape(*scale.shape, -1) * scale[..., None]
    return values.reshape(tensor.shape)


def ternary_codes(tensor: Tensor) -> tuple[np.ndarray, float | np.ndarray]:
    """Int8 codes of a ternary tensor in its shape, and its scale, or a float32 scale for every group of columns
    [out, in / group], with `tensor.scale` multiplied in.

    A large matrix can be taken in parts: `ternary_codes(tensor.rows(first, last))` for `tensor.row_chunks()`. Raises
    FormatError where a scale is not finite, and for TL1 or TL2 as `tiled_codes` does.
    """
    packing = tensor.encoding.packing
    assert not isinstance(packing, FloatBlocks)
    if isinstance(packing, TernaryTiles):
        return tiled_codes(tensor, packing), tensor.scale
    codes, scales = packing.unpack(tensor.data, tensor.shape)
    if scales is None:
        return codes, tensor.scale
    scales = scales if tensor.scale == 1 else scales * np.float32(tensor.scale)
    if not np.isfinite(scales).all():
        raise FormatError(f"The tensor {tensor.name!r} has a block whose scale is not finite.")
    return codes, scales


def tiled_codes(tensor: Tensor, packing: TernaryTiles, tl_tiles: str = "preset") -> np.ndarray:
    """Int8 codes [out, in] of a tensor in tiles; `tl_tiles`: where the tiles of TL1 come from (`tl.TL_TILES`).

    Raises FormatError where its data is invalid, or no preset has its shape.
    """
    tiles = packing.tiles(tensor.shape, tl_tiles)
    try:
        if tiles is None:
            raise ValueError(f"no preset of bitnet.cpp has the shape {list(tensor.shape)}")
        return packing.unpack(tensor.data, tensor.shape, tiles)
    except ValueError as error:
        raise FormatError(f"The tensor {tensor.name!r} is no {tensor.encoding.name}: {error}.") from error


def as_float32(tensor: Tensor) -> Tensor:
    """The same tensor with its values in float32."""
    if tensor.encoding is Encoding.F32:
        return tensor
    data = np.ascontiguousarray(decode(tensor)).reshape(-1).view(np.uint8)
    return replace(tensor, encoding=Encoding.F32, data=data, scale=1.0)


def tensor_values(tensors: Mapping[str, Tensor]) -> dict[str, Values]:
    """The content of tensors by name, as `sterna.model.oracle.Oracle` takes it."""
    return {name: _values(tensor) for name, tensor in tensors.items()}


def _values(tensor: Tensor) -> Values:
    packing = tensor.encoding.packing
    if not isinstance(packing, FloatBlocks):
        return ternary_codes(tensor)
    if packing.numbers is None:
        return decode(tensor)
    numbers, scales = packing.numbers(tensor.data)
    return numbers.reshape(tensor.shape), scales.reshape(tensor.shape[0], -1)

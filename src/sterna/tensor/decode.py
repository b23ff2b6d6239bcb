"""Numbers out of tensors: float32 values, or ternary codes with their scales."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from sterna.errors import FormatError
from sterna.tensor.tensor import TERNARY, TILED, Encoding, Tensor
from sterna.ternary import kquants, tl
from sterna.ternary.blocks import dequantize_q4_0, dequantize_q6_k, dequantize_q8_0
from sterna.ternary.i2s import unpack_i2s
from sterna.ternary.oracle import Weight
from sterna.ternary.tq import BLOCK, unpack_tq1_0, unpack_tq2_0


def _bf16(data: np.ndarray) -> np.ndarray:
    return (data.view("<u2").astype("<u4") << 16).view("<f4")


DECODERS: dict[Encoding, Callable[[np.ndarray], np.ndarray]] = {
    Encoding.F32: lambda data: data.view("<f4"),
    Encoding.F16: lambda data: data.view("<f2").astype("<f4"),
    Encoding.BF16: _bf16,
    Encoding.Q4_0: dequantize_q4_0,
    Encoding.Q4_1: kquants.dequantize_q4_1,
    Encoding.Q5_0: kquants.dequantize_q5_0,
    Encoding.Q5_1: kquants.dequantize_q5_1,
    Encoding.Q8_0: dequantize_q8_0,
    Encoding.Q2_K: kquants.dequantize_q2_k,
    Encoding.Q3_K: kquants.dequantize_q3_k,
    Encoding.Q4_K: kquants.dequantize_q4_k,
    Encoding.Q5_K: kquants.dequantize_q5_k,
    Encoding.Q6_K: dequantize_q6_k,
}
BLOCK_DECODERS = {Encoding.TQ1_0: unpack_tq1_0, Encoding.TQ2_0: unpack_tq2_0}


def decode(tensor: Tensor) -> np.ndarray:
    """The float32 values of a tensor in its shape; those of a ternary one are codes times scales."""
    if tensor.encoding not in TERNARY:
        return DECODERS[tensor.encoding](tensor.data).reshape(tensor.shape)
    codes, scale = ternary_codes(tensor)
    if isinstance(scale, float):
        return codes.astype(np.float32) * np.float32(scale)
    values: np.ndarray = codes.reshape(*scale.shape, BLOCK) * scale[..., None]
    return values.reshape(tensor.shape)


def ternary_codes(tensor: Tensor) -> tuple[np.ndarray, float | np.ndarray]:
    """Int8 codes of a ternary tensor in its shape, and its scale, or a float32 scale for every 256 columns
    [out, in / 256] (TQ1_0, TQ2_0), with `tensor.scale` multiplied in.

    A large matrix can be taken in parts: `ternary_codes(tensor.rows(first, last))` for `tensor.row_chunks()`.
    Raises FormatError where a scale is not finite, and for TL1 or TL2 that holds no weights.
    """
    if tensor.encoding in TILED:
        return tiled_codes(tensor), tensor.scale
    if tensor.encoding is Encoding.I2_S:
        return unpack_i2s(tensor.data, tensor.shape), tensor.scale
    codes, scales = BLOCK_DECODERS[tensor.encoding](tensor.data, tensor.shape)
    scales = scales if tensor.scale == 1 else scales * np.float32(tensor.scale)
    if not np.isfinite(scales).all():
        raise FormatError(f"The tensor {tensor.name!r} has a block whose scale is not finite.")
    return codes, scales


def tiled_codes(tensor: Tensor, tl_tiles: str = "preset") -> np.ndarray:
    """Int8 codes [out, in] of a tensor in TL1 or TL2; `tl_tiles`: whose tiles TL1 has (`tl.TL_TILES`).

    Raises FormatError where its data holds no weights, or no preset has its shape.
    """
    is_tl1 = tensor.encoding is Encoding.TL1
    tiles = tl.tl1_tiles(tensor.shape, tl_tiles) if is_tl1 else tl.tl2_tiles(tensor.shape)
    try:
        if tiles is None:
            raise ValueError(f"no preset of bitnet.cpp has the shape {list(tensor.shape)}")
        return (tl.unpack_tl1 if is_tl1 else tl.unpack_tl2)(tensor.data, tensor.shape, tiles)
    except ValueError as error:
        raise FormatError(f"The tensor {tensor.name!r} is no {tensor.encoding.name}: {error}.") from error


def as_float32(tensor: Tensor) -> Tensor:
    """The same tensor with its values in float32."""
    if tensor.encoding is Encoding.F32:
        return tensor
    data = np.ascontiguousarray(decode(tensor)).reshape(-1).view(np.uint8)
    return replace(tensor, encoding=Encoding.F32, data=data, scale=1.0)


def oracle_weights(tensors: Mapping[str, Tensor]) -> dict[str, Weight]:
    """All tensors as `sterna.ternary.Oracle` takes them: float32 arrays, or codes and scales of ternary matrices."""
    return {
        name: ternary_codes(tensor) if tensor.encoding in TERNARY else decode(tensor)
        for name, tensor in tensors.items()
    }

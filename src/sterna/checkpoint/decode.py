"""Numbers out of tensors: float32 values, or ternary codes with their scale."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from sterna.checkpoint.tensor import Encoding, Tensor
from sterna.ternary.blocks import dequantize_q6_k, dequantize_q8_0
from sterna.ternary.i2s import unpack_i2s
from sterna.ternary.oracle import Weight


def _bf16(data: np.ndarray) -> np.ndarray:
    return (data.view("<u2").astype("<u4") << 16).view("<f4")


DECODERS: dict[Encoding, Callable[[np.ndarray], np.ndarray]] = {
    Encoding.F32: lambda data: data.view("<f4"),
    Encoding.F16: lambda data: data.view("<f2").astype("<f4"),
    Encoding.BF16: _bf16,
    Encoding.Q8_0: dequantize_q8_0,
    Encoding.Q6_K: dequantize_q6_k,
}


def decode(tensor: Tensor) -> np.ndarray:
    """The float32 values of a tensor in its shape; those of a ternary one are `scale * codes`."""
    if tensor.encoding is Encoding.I2_S:
        return unpack_i2s(tensor.data, tensor.shape).astype(np.float32) * np.float32(tensor.scale)
    return DECODERS[tensor.encoding](tensor.data).reshape(tensor.shape)


def as_float32(tensor: Tensor) -> Tensor:
    """The same tensor with its values in float32."""
    if tensor.encoding is Encoding.F32:
        return tensor
    data = np.ascontiguousarray(decode(tensor)).reshape(-1).view(np.uint8)
    return replace(tensor, encoding=Encoding.F32, data=data, scale=1.0)


def oracle_weights(tensors: Mapping[str, Tensor]) -> dict[str, Weight]:
    """All tensors as `sterna.ternary.Oracle` takes them: float32 arrays, or (codes, scale) of ternary matrices."""
    return {
        name: (unpack_i2s(tensor.data, tensor.shape), tensor.scale)
        if tensor.encoding is Encoding.I2_S
        else decode(tensor)
        for name, tensor in tensors.items()
    }

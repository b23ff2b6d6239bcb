"""F32, F16 and BF16: stored bytes to float32 values and back."""

from __future__ import annotations

import numpy as np


def decode_f32(data: np.ndarray) -> np.ndarray:
    """Float32 values of a uint8 vector, without a copy."""
    return data.view("<f4")


def decode_f16(data: np.ndarray) -> np.ndarray:
    """Float32 values of a uint8 vector of float16 values."""
    return data.view("<f2").astype("<f4")


def decode_bf16(data: np.ndarray) -> np.ndarray:
    """Float32 values of a uint8 vector of bfloat16 values."""
    return (data.view("<u2").astype("<u4") << 16).view("<f4")


def encode_f32(values: np.ndarray) -> np.ndarray:
    """The values as they are."""
    return values.astype("<f4")


def encode_f16(values: np.ndarray) -> np.ndarray:
    """Float16 values, rounded to nearest, ties to even; values beyond float16 become infinite."""
    return values.astype("<f2")


def exact_float16(values: np.ndarray) -> np.ndarray | None:
    """Float32 values as float16, if that holds all of them exactly; else None."""
    with np.errstate(over="ignore"):
        halfs = values.astype(np.float16)
    return halfs if np.array_equal(halfs, values) else None


def encode_bf16(values: np.ndarray) -> np.ndarray:
    """Bfloat16 values as uint16, rounded to nearest, ties to even."""
    bits = values.view("<u4")
    rounded = bits + 0x7FFF + ((bits >> 16) & 1)
    return (np.where(np.isnan(values), bits | 0x400000, rounded) >> 16).astype("<u2")

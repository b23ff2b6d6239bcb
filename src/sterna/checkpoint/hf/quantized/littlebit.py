"""LittleBit: the product of two matrices of signs with scales on all sides, and a second such product as residual,

y = u1 * (U ((v1 * u2) * (V (v2 * x))))

U_packed int32 [out, rank / 32], V_packed int32 [rank, in / 32], lowest bit first, 1 for -1
u1 float [1, out], u2 and v1 [1, rank], v2 [1, in]; the residual's names end in _R
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from sterna.checkpoint.hf.quantized.method import Method
from sterna.checkpoint.hf.quantized.module import FLOATS, Module
from sterna.tensor.tensor import TensorStream

FACTORS = ("U{}_packed", "U{}_shape", "V{}_packed", "V{}_shape", "u1{}", "u2{}", "v1{}", "v2{}")
NOTES = ("_eff_bit_actual", "_eff_bit_target", "_split_dim_final")


def check(section: Mapping[str, Any]) -> None:
    """All that matters follows from the shapes."""


def read(module: Module, section: Mapping[str, Any]) -> list[TensorStream]:
    """The product in float32."""
    halves = [_factors(module, suffix) for suffix in ("", "_R") if f"U{suffix}_packed" in module.parts]
    return [module.matrix(lambda: sum(left @ right for left, right in halves))]


def _factors(module: Module, suffix: str) -> tuple[np.ndarray, np.ndarray]:
    """The factors [out, rank] and [rank, in], with their scales."""
    rows, columns = module.shape
    shape = module.part(f"u2{suffix}", FLOATS).shape
    if len(shape) != 2:
        raise module.broken(f"its u2{suffix} has the shape {list(shape)}")
    rank = shape[1]
    left = _signs(module, f"U{suffix}", (rows, rank)) * module.floats(f"u1{suffix}", (1, rows)).T
    right = _signs(module, f"V{suffix}", (rank, columns)) * module.floats(f"v2{suffix}", (1, columns))
    return left * module.floats(f"u2{suffix}", (1, rank)), right * module.floats(f"v1{suffix}", (1, rank)).T


def _signs(module: Module, name: str, shape: tuple[int, int]) -> np.ndarray:
    """A matrix of signs, float32."""
    words = module.integers(f"{name}_packed", ("I32",), (shape[0], -(-shape[1] // 32)))
    if module.integers(f"{name}_shape", ("I32", "I64"), (2,)).tolist() != list(shape):
        raise module.broken(f"its {name}_shape and its scales disagree")
    bits = np.unpackbits(np.ascontiguousarray(words).view(np.uint8), axis=1, bitorder="little")[:, : shape[1]]
    return np.float32(1) - np.float32(2) * bits


LITTLEBIT = Method(
    "littlebit", "U_packed", (*(name.format(r) for r in ("", "_R") for name in FACTORS), *NOTES), check, read
)

"""LittleBit: the product of two matrices of signs with scales on all sides, and a second such product as residual,

y = u1 * (U ((v1 * u2) * (V (v2 * x))))

U_packed int32 [out, rank / 32], V_packed int32 [rank, in / 32], lowest bit first, 1 for -1
u1 float [1, out], u2 and v1 [1, rank], v2 [1, in]; the residual's names end in _R
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from sterna.checkpoint.hf.quantized.method import Method
from sterna.checkpoint.hf.quantized.module import Module
from sterna.checkpoint.hf.quantized.writer import Layout, Parts, Writer
from sterna.files.safetensors.reader import FLOATS
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


@dataclass(frozen=True)
class SignProduct:
    """One product of two matrices of signs, with its scales: float32, float16 numbers."""

    left: np.ndarray
    """U: int8 [out, rank]."""
    right: np.ndarray
    """V: int8 [rank, in]."""
    u1: np.ndarray
    u2: np.ndarray
    v1: np.ndarray
    v2: np.ndarray

    def values(self) -> np.ndarray:
        """The product, float32 [out, in]."""
        product: np.ndarray = (self.left * self.u1[:, None] * (self.u2 * self.v1)) @ (self.right * self.v2)
        return product

    def parts(self, suffix: str) -> Parts:
        """Its tensors."""
        signs = {f"U{suffix}": self.left, f"V{suffix}": self.right}
        scales = {f"u1{suffix}": self.u1, f"u2{suffix}": self.u2, f"v1{suffix}": self.v1, f"v2{suffix}": self.v2}
        return (
            {f"{name}_packed": _packed(each) for name, each in signs.items()}
            | {f"{name}_shape": np.array(each.shape, np.int64) for name, each in signs.items()}
            | {name: each[None].astype(np.float16) for name, each in scales.items()}
        )


@dataclass(frozen=True)
class SignProducts:
    """A matrix as a product of signs, and a second one for what that leaves."""

    first: SignProduct
    rest: SignProduct

    def values(self) -> np.ndarray:
        """What the matrix multiplies its input by, float32 [out, in]."""
        return self.first.values() + self.rest.values()


def _packed(signs: np.ndarray) -> np.ndarray:
    """The inverse of `_signs`: int32 words of each row, filled up with zeros."""
    rows, columns = signs.shape
    bits = np.zeros((rows, -(-columns // 32) * 32), np.uint8)
    bits[:, :columns] = signs < 0
    return np.packbits(bits, axis=1, bitorder="little").view("<i4")


def parts(matrix: SignProducts) -> Parts:
    """The tensors of a matrix."""
    return matrix.first.parts("") | matrix.rest.parts("_R")


def keys(layout: Layout) -> dict[str, Any]:
    """LittleBit writes no quantization_config: how many bits a weight were asked for, and that there is a residual."""
    return {"quant_func": "SmoothSign", "quant_mod": "LittleBitLinear", "eff_bit": float(layout.bits), "residual": True}


WRITER = Writer("littlebit", (1, 0.8, 0.7, 0.55, 0.3, 0.1), parts, keys)

"""AQLM (aqlm/utils.py, inference.py): blocks of out_group x in_group weights, each the sum of one vector of each of C
codebooks, times the scale of its rows:

    codes int8 or int16 [out / out_group, in / in_group, C], signed: negative ones are 2^bits less
    codebooks float [C, 2^bits, out_group, in_group], scales float [out / out_group, 1, 1, 1]
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


def check(section: Mapping[str, Any]) -> None:
    """All that matters follows from the shapes."""


def read(module: Module, section: Mapping[str, Any]) -> list[TensorStream]:
    """The matrix in float32."""
    shape = module.part("codebooks", FLOATS).shape
    if len(shape) != 4 or 0 in shape or module.shape[0] % shape[2] or module.shape[1] % shape[3]:
        raise module.broken(f"its codebooks have the shape {list(shape)}")
    books, entries, height, width = shape
    codebooks = module.floats("codebooks")
    rows, columns = module.shape[0] // height, module.shape[1] // width
    codes = module.integers("codes", ("I8", "I16"), (rows, columns, books))
    if entries & entries - 1 or entries > 1 << 8 * codes.itemsize:
        raise module.broken(f"its codebooks have {entries} entries")
    scales = module.floats("scales", (rows, 1, 1, 1))

    def values() -> np.ndarray:
        total = np.zeros((rows, columns, height, width), np.float32)
        for book in range(books):
            total += codebooks[book][codes[..., book].astype(np.int64) & entries - 1]
        return (total * scales).swapaxes(1, 2).reshape(module.shape)

    return [module.matrix(values)]


AQLM = Method("aqlm", "codes", ("codebooks", "scales"), check, read)


@dataclass(frozen=True)
class AdditiveCodes:
    """Blocks of eight columns of a row, each the sum of one vector of each codebook, times the scale of the row."""

    codes: np.ndarray
    """uint8 [out, in / 8, C]."""
    codebooks: np.ndarray
    """float32 [C, 256, 8], float16 numbers."""
    scales: np.ndarray
    """float32 [out], float16 numbers."""

    def values(self) -> np.ndarray:
        """What the matrix multiplies its input by, float32 [out, in]."""
        blocks = sum(book[self.codes[..., index]] for index, book in enumerate(self.codebooks))
        values: np.ndarray = (blocks * self.scales[:, None, None]).reshape(len(self.scales), -1)
        return values


def parts(matrix: AdditiveCodes) -> Parts:
    """The tensors of a matrix."""
    return {
        "codes": matrix.codes.view(np.int8),
        "codebooks": matrix.codebooks[:, :, None].astype(np.float16),
        "scales": matrix.scales[:, None, None, None].astype(np.float16),
    }


def keys(layout: Layout) -> dict[str, Any]:
    """What AQLM's converter to Hugging Face writes; only the head is a linear layer that is not quantised."""
    section = {"num_codebooks": layout.bits, "nbits_per_codebook": 8, "out_group_size": 1, "in_group_size": 8}
    not_quantized = {"linear_weights_not_to_quantize": ["lm_head.weight"]}
    return {"quantization_config": {"quant_method": "aqlm", **section, **not_quantized}}


WRITER = Writer("aqlm", (1, 2, 3, 4), parts, keys, multiples=lambda bits: (1, 8))

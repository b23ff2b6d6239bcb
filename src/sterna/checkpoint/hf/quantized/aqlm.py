"""AQLM (aqlm/utils.py, inference.py): blocks of out_group x in_group weights, each the sum of one vector of each of C
codebooks, times the scale of its rows:

    codes int8 or int16 [out / out_group, in / in_group, C], signed: negative ones are 2^bits less
    codebooks float [C, 2^bits, out_group, in_group], scales float [out / out_group, 1, 1, 1]
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from sterna.checkpoint.hf.quantized.method import Method
from sterna.checkpoint.hf.quantized.module import FLOATS, Module
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

"""OneBit (models/bitnet.py, convert_llama_to_infer_ckpt.py): a matrix of signs S between two vectors of scales, and a
LayerNorm without weights after it:

    y = LayerNorm((S (x * input_factor)) * weight_scale)

    weight int8 [out, in / 8], lowest bit first, 1 for -1; weight_scale float [out], input_factor float [in]
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from sterna.checkpoint.hf.quantized.method import Method
from sterna.checkpoint.hf.quantized.module import Module
from sterna.tensor.encodings import Encoding
from sterna.tensor.tensor import Tensor, TensorStream
from sterna.ternary.floats import exact_float16
from sterna.ternary.group_scaled import Q1_0

NORM_EPS = 1e-5
"""Epsilon of the LayerNorms (torch's default)."""


def check(section: Mapping[str, Any]) -> None:
    """All that matters follows from the shapes."""


def read(module: Module, section: Mapping[str, Any]) -> list[TensorStream]:
    """The matrix in Q1_0 behind a scaling of its input, if Q1_0 holds it exactly; else one of float32 values."""
    rows, columns = module.shape
    bits = module.integers("weight", ("I8", "U8"), (rows, columns // 8)).view(np.uint8)
    scales, factor = module.floats("weight_scale", (rows,)), module.floats("input_factor", (columns,))

    def signs() -> np.ndarray:
        return 1 - 2 * np.unpackbits(bits, axis=1, bitorder="little").astype(np.int8)

    if columns % Q1_0.block or exact_float16(scales) is None:
        return [module.matrix(lambda: signs() * scales[:, None] * factor)]

    def make() -> Iterator[Tensor]:
        blocks = Q1_0.pack(signs(), np.repeat(scales, columns // Q1_0.block))
        yield Tensor(f"{module.name}.weight", module.shape, Encoding.Q1_0, blocks)

    weight = TensorStream(f"{module.name}.weight", module.shape, Encoding.Q1_0, make)
    return [weight, module.vector("_rotation.scales", factor)]


ONEBIT = Method("onebit", "input_factor", ("weight", "weight_scale"), check, read, NORM_EPS)

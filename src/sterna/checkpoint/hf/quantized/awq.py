"""AutoAWQ's GEMM layout (awq/modules/linear/gemm.py, utils/packing_utils.py): 4 bits, whole zero points.

    qweight int32 [in, out / 8], qzeros int32 [in / group, out / 8], scales float [in / group, out]

The nibble k of a word belongs to the output 8c + ORDER[k].
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from sterna.checkpoint.hf.quantized.method import Method, expect
from sterna.checkpoint.hf.quantized.module import Module
from sterna.tensor.tensor import TensorStream

ORDER = np.array([0, 2, 4, 6, 1, 3, 5, 7])


def check(section: Mapping[str, Any]) -> None:
    """Raises UnsupportedError for AWQ's other layouts (gemv, gemv_fast, marlin)."""
    expect(section, "bits", (4,), 4)
    expect(section, "version", ("gemm", "GEMM"), "gemm")


def read(module: Module, section: Mapping[str, Any]) -> list[TensorStream]:
    """The matrix of the three tensors."""
    (rows, columns), groups = module.shape, module.groups_of("scales", 0)
    scales = module.floats("scales", (groups, rows))
    words = module.integers("qweight", ("I32", "U32"), (columns, rows // 8))
    zeros = _outputs(module.integers("qzeros", ("I32", "U32"), (groups, rows // 8)))
    return [module.grouped(4, scales.T, zeros.T.astype(np.float32), lambda: np.ascontiguousarray(_outputs(words).T))]


def _outputs(words: np.ndarray) -> np.ndarray:
    """Codes, uint8 [n, out], of words [n, out / 8]."""
    packed = words.view(np.uint32)
    codes = np.empty((*words.shape, 8), np.uint8)
    for nibble, output in enumerate(ORDER):
        codes[..., output] = packed >> np.uint32(4 * nibble) & np.uint32(15)
    return codes.reshape(len(words), -1)


AWQ = Method("awq", "qweight", ("qzeros", "scales"), check, read)

"""AutoAWQ's GEMM layout (awq/modules/linear/gemm.py, utils/packing_utils.py): 4 bits, whole zero points.

    qweight int32 [in, out / 8], qzeros int32 [in / group, out / 8], scales float [in / group, out]

The nibble k of a word belongs to the output 8c + ORDER[k].
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from sterna.checkpoint.hf.quantized.groups import GroupCodes
from sterna.checkpoint.hf.quantized.method import Method, expect
from sterna.checkpoint.hf.quantized.module import Module
from sterna.checkpoint.hf.quantized.writer import Layout, Parts, Writer
from sterna.errors import UnsupportedError
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


def _words(codes: np.ndarray) -> np.ndarray:
    """Words [n, out / 8] of codes, uint8 [n, out]; the inverse of `_outputs`."""
    if codes.shape[1] % len(ORDER):
        raise UnsupportedError(f"AWQ's words hold 8 rows each, and a matrix has {codes.shape[1]}.")
    nibbles = codes.reshape(len(codes), -1, len(ORDER))[..., ORDER].astype(np.uint32)
    words: np.ndarray = (nibbles << np.arange(0, 32, 4, dtype=np.uint32)).sum(axis=-1, dtype=np.uint32)
    return words.view(np.int32)


def parts(matrix: GroupCodes) -> Parts:
    """The three tensors of a matrix."""
    qweight, qzeros = (_words(np.ascontiguousarray(codes.T)) for codes in (matrix.codes, matrix.zeros))
    return {"qweight": qweight, "qzeros": qzeros, "scales": np.ascontiguousarray(matrix.scales.T.astype(np.float16))}


def keys(layout: Layout) -> dict[str, Any]:
    """The `quantization_config` as AutoAWQ writes it."""
    section = {"quant_method": "awq", "bits": layout.bits, "group_size": layout.group_size, "zero_point": True}
    return {"quantization_config": section | {"version": "gemm", "modules_to_not_convert": None}}


WRITER = Writer("awq", (4,), parts, keys, multiples=lambda bits: (len(ORDER), 1))

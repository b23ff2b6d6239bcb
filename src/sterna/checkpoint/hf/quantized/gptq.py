"""GPTQ's layout (GPTQModel, nn_modules/qlinear), 2, 3, 4 or 8 bits:

    qweight int32 [in * bits / 32, out], qzeros int32 [groups, out * bits / 32], scales float [groups, out],
    g_idx int32 [in], the group of each column

A checkpoint of version 1 stores each zero point less 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from sterna.checkpoint.hf.quantized.groups import GroupCodes
from sterna.checkpoint.hf.quantized.method import Method, expect
from sterna.checkpoint.hf.quantized.module import Module, codes_in_words, packed, unpacked
from sterna.checkpoint.hf.quantized.writer import Layout, Parts, Writer
from sterna.files.safetensors.reader import FLOATS
from sterna.tensor.tensor import TensorStream

VERSIONS = ("gptq", "gptq_v2")


def check(section: Mapping[str, Any]) -> None:
    """Raises UnsupportedError for other layouts (marlin, ...) and widths."""
    expect(section, "bits", (2, 3, 4, 8), 4)
    expect(section, "checkpoint_format", VERSIONS, "gptq")
    expect(section, "pack_dtype", ("int32",), "int32")


def read(module: Module, section: Mapping[str, Any]) -> list[TensorStream]:
    """The matrix; where its groups are no runs of columns (act-order), with its columns sorted by groups."""
    (rows, columns), bits = module.shape, section.get("bits", 4)
    shape = module.part("scales", FLOATS).shape
    count = shape[0] if len(shape) == 2 else 0
    if not 0 < count <= columns:
        raise module.broken(f"its scales have the shape {list(shape)}")
    scales = module.floats("scales", (count, rows))
    words = module.integers("qweight", ("I32", "U32"), (columns * bits // 32, rows))
    packed = module.integers("qzeros", ("I32", "U32"), (count, rows * bits // 32)).view(np.uint32)
    zeros = _zeros(packed, bits, section.get("checkpoint_format", "gptq") == "gptq").astype(np.float32)

    def codes() -> np.ndarray:
        return np.ascontiguousarray(unpacked(words, bits, 0).T)

    order = group_index(module, "g_idx", count)
    return module.ordered(bits, scales.T, zeros.T, codes, order)


def group_index(module: Module, ending: str, count: int) -> np.ndarray | None:
    """The group of each column, where groups are not the runs of columns that follow each other; else None. Raises
    FormatError for a group that is none."""
    columns = module.shape[1]
    if ending not in module.parts:
        if columns % count:
            raise module.broken(f"its {columns} columns do not fall into {count} groups")
        return None
    index = module.integers(ending, ("I32", "I64"), (columns,))
    if index.min(initial=0) < 0 or index.max(initial=0) >= count:
        raise module.broken(f"its {ending} names a group outside of its {count}")
    runs = columns % count == 0 and np.array_equal(index, np.arange(columns) // (columns // count))
    return None if runs else index


def _zeros(packed: np.ndarray, bits: int, less_one: bool) -> np.ndarray:
    """Zero points, uint8 [groups, out], of words in which they are stored as they are or less 1.

    Codes that fill words get their 1 back in whole words, as in GPTQModel: this undoes the borrows of its saving.
    """
    if not less_one:
        return unpacked(packed, bits, 1)
    if 32 % bits:
        return (unpacked(packed, bits, 1) + 1) & ((1 << bits) - 1)
    ones = sum(1 << at for at in range(0, 32, bits))
    return unpacked(packed + np.uint32(ones), bits, 1)


GPTQ = Method("gptq", "qweight", ("qzeros", "scales", "g_idx"), check, read)


def parts(matrix: GroupCodes) -> Parts:
    """The four tensors of a matrix, zero points as they are (version 2)."""
    groups = np.arange(matrix.codes.shape[1]) // matrix.group_size
    return {
        "qweight": packed(matrix.codes.T, matrix.bits, 0),
        "qzeros": packed(matrix.zeros.T, matrix.bits, 1),
        "scales": np.ascontiguousarray(matrix.scales.T.astype(np.float16)),
        "g_idx": (groups if matrix.index is None else matrix.index).astype(np.int32),
    }


def keys(layout: Layout) -> dict[str, Any]:
    """The `quantization_config` as GPTQModel writes it for version 2."""
    section = {"quant_method": "gptq", "bits": layout.bits, "group_size": layout.group_size}
    section |= {"desc_act": layout.act_order, "sym": layout.symmetric, "lm_head": False}
    return {"quantization_config": section | {"checkpoint_format": "gptq_v2", "pack_dtype": "int32"}}


WRITER = Writer(
    "gptq",
    (2, 3, 4, 8),
    parts,
    keys,
    multiples=lambda bits: (codes_in_words(bits), codes_in_words(bits)),
    takes_index=True,
)

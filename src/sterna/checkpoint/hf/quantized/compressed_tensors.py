"""compressed-tensors, format pack-quantized (compressors/pack_quantized.py), 4 or 8 bits, symmetric or not:

weight_packed int32 [out, in * bits / 32], codes one after the other, each less its most negative value
weight_scale float [out, groups], weight_shape int [2]
weight_zero_point int32 [out * bits / 32, groups], packed along its first axis in the same way
weight_g_idx int32 [in], the group of each column
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from sterna.checkpoint.hf.quantized.gptq import group_index
from sterna.checkpoint.hf.quantized.groups import GroupCodes
from sterna.checkpoint.hf.quantized.method import Method, expect
from sterna.checkpoint.hf.quantized.module import Module, codes_in_words, packed, unpacked
from sterna.checkpoint.hf.quantized.writer import Layout, Parts, Writer
from sterna.errors import FormatError, UnsupportedError
from sterna.tensor.tensor import TensorStream

PACKED = "pack-quantized"


def check(section: Mapping[str, Any]) -> None:
    """Raises UnsupportedError for other formats, and where activations or keys and values are quantised, too."""
    expect(section, "format", (PACKED,), PACKED)
    expect(section, "kv_cache_scheme", (None,), None)
    groups = section.get("config_groups")
    if not isinstance(groups, Mapping) or not all(isinstance(group, Mapping) for group in groups.values()):
        raise FormatError("its quantization_config has no config_groups.")
    for group in groups.values():
        expect(group, "format", (None, PACKED), None)
        for key in ("input_activations", "output_activations"):
            if group.get(key) is not None:
                raise UnsupportedError(f"its quantization_config quantises {key}, which Sterna does not do.")


def read(module: Module, section: Mapping[str, Any]) -> list[TensorStream]:
    """The matrix; its bits follow from its shape."""
    rows, columns = module.shape
    stored = module.part("weight_packed", ("I32", "U32"))
    bits = stored.shape[1] * 32 // columns if len(stored.shape) == 2 else 0
    if bits not in (4, 8):
        raise module.broken(f"its weight_packed has the shape {list(stored.shape)} for {columns} columns")
    words = module.integers("weight_packed", ("I32", "U32"), (rows, columns * bits // 32))
    if module.integers("weight_shape", ("I32", "I64"), (2,)).tolist() != [rows, columns]:
        raise module.broken("its weight_shape is another than the model's")
    count = module.groups_of("weight_scale", 1)
    scales, zeros = module.floats("weight_scale", (rows, count)), np.full((rows, count), 1 << bits - 1, np.float32)
    if "weight_zero_point" in module.parts:
        packed = module.integers("weight_zero_point", ("I32", "U32"), (-(-rows * bits // 32), count))
        zeros = unpacked(packed, bits, 0)[:rows].astype(np.float32)
    index = module.parts.get("weight_g_idx")
    unused = index is not None and bool((module.integers("weight_g_idx", ("I32", "I64"), (columns,)) == -1).all())
    order = None if index is None or unused else group_index(module, "weight_g_idx", count)
    return module.ordered(bits, scales, zeros, lambda: unpacked(words, bits, 1), order)


COMPRESSED_TENSORS = Method(
    "compressed-tensors",
    "weight_packed",
    ("weight_scale", "weight_shape", "weight_zero_point", "weight_g_idx"),
    check,
    read,
)


def parts(matrix: GroupCodes) -> Parts:
    """The tensors of a matrix. Raises UnsupportedError where its rows do not fill the words of its zero points."""
    return {
        "weight_packed": packed(matrix.codes, matrix.bits, 1),
        "weight_scale": matrix.scales.astype(np.float16),
        "weight_zero_point": packed(matrix.zeros, matrix.bits, 0),
        "weight_shape": np.array(matrix.codes.shape, np.int64),
    }


def keys(layout: Layout) -> dict[str, Any]:
    """The `quantization_config` as compressed-tensors 0.20 writes it, for all linear layers but the head."""
    weights: dict[str, Any] = {"num_bits": layout.bits, "type": "int", "symmetric": False, "strategy": "group"}
    group: dict[str, Any] = {
        "targets": ["Linear"],
        "weights": weights | {"group_size": layout.group_size},
        "format": PACKED,
    }
    group |= {"input_activations": None, "output_activations": None}
    section = {"quant_method": "compressed-tensors", "format": PACKED, "quantization_status": "compressed"}
    return {"quantization_config": section | {"config_groups": {"group_0": group}, "ignore": ["lm_head"]}}


WRITER = Writer(
    "compressed-tensors", (4, 8), parts, keys, multiples=lambda bits: (codes_in_words(bits), codes_in_words(bits))
)

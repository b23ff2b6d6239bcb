"""ParoQuant (z-lab/paroquant, cli/convert.py): the tensors of AWQ for the rotated weight, and its rotation.

    theta float [K, in / 2], pairs int16 [K, in] (i0, j0, i1, j1, ..., local to a group), channel_scales float [1, in]

K and the group are those of the tensors; `krot` and `group_size` of published files may be wrong.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from sterna.checkpoint.hf.quantized import awq
from sterna.checkpoint.hf.quantized.groups import GroupCodes
from sterna.checkpoint.hf.quantized.method import Method, expect
from sterna.checkpoint.hf.quantized.module import Module
from sterna.checkpoint.hf.quantized.writer import Layout, Parts, Writer
from sterna.files.safetensors.reader import FLOATS
from sterna.tensor.tensor import TensorStream

MOST_ROTATIONS = 64
ROTATIONS = 8
"""Rotations of a matrix that is written: as many as the published models have."""


def check(section: Mapping[str, Any]) -> None:
    """Raises UnsupportedError for other widths."""
    expect(section, "bits", (4,), 4)


def read(module: Module, section: Mapping[str, Any]) -> list[TensorStream]:
    """The rotated matrix and its rotation (`operations.Rotate`)."""
    columns, group = module.shape[1], module.shape[1] // module.groups_of("scales", 0)
    shape = module.part("theta", FLOATS).shape
    count = shape[0] if len(shape) == 2 else 0
    if not 0 < count <= MOST_ROTATIONS or group % 2:
        raise module.broken(f"it has {count} rotations in groups of {group} columns")
    angles = module.floats("theta", (count, columns // 2))
    local = module.integers("pairs", ("I16", "I32"), (count, columns)).reshape(count, -1, group).astype(np.int64)
    if not np.array_equal(np.sort(local, axis=-1), np.broadcast_to(np.arange(group), local.shape)):
        raise module.broken(f"its pairs are no permutation of each group of {group} columns")
    pairs = (local + np.arange(0, columns, group)[:, None]).reshape(count, columns)
    given = module.parts.get("channel_scales")
    scales = module.floats("channel_scales", (columns,) if given and len(given.shape) == 1 else (1, columns))
    rotation = {"scales": scales.reshape(-1), "angles": angles, "pairs": pairs}
    vectors = [module.vector(f"_rotation.{part}", values) for part, values in rotation.items()]
    return [*awq.read(module, section), *vectors]


PAROQUANT = Method("paroquant", "qweight", ("qzeros", "scales", "theta", "pairs", "channel_scales"), check, read)


def parts(matrix: GroupCodes) -> Parts:
    """The tensors of the rotated matrix and of its rotation. Raises ValueError for a matrix without one."""
    if matrix.channel_scales is None or matrix.angles is None or matrix.pairs is None:
        raise ValueError("ParoQuant's format is for rotated matrices")
    local = matrix.pairs % matrix.group_size
    return awq.parts(matrix) | {
        "theta": matrix.angles.astype(np.float16),
        "pairs": local.astype(np.int16),
        "channel_scales": matrix.channel_scales.astype(np.float16)[None],
    }


def keys(layout: Layout) -> dict[str, Any]:
    """The `quantization_config` as z-lab writes it; `krot` is what their kernels have. It does not say `sym`: gptqmodel
    warns, and takes true for it, but its zero points are those of the file, and it refuses false."""
    section = {"quant_method": "paroquant", "bits": layout.bits, "group_size": layout.group_size, "krot": ROTATIONS}
    return {"quantization_config": section}


WRITER = Writer("paro", (4,), parts, keys, group_sizes=(16, 32, 64, 128), multiples=awq.WRITER.multiples)

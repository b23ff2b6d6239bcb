"""Matrices of MLX folders (mlx-lm, `mode: affine`): integers q in little-endian words of 32 bits, and a scale and a
bias for each group of columns, `w = scale * q + bias`.

Ternary and binary ones are the blocks of GGUF's types with the scales apart: their fields have the same order of bits.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from sterna.errors import FormatError, UnsupportedError
from sterna.files.safetensors.reader import StoredTensor
from sterna.tensor.decode import decode
from sterna.tensor.encodings import Encoding
from sterna.tensor.pages import release
from sterna.tensor.tensor import Tensor, TensorStream
from sterna.ternary.group_scaled import PQ2_0, Q1_0, Q2_0, Fields

WORD_BITS = 32
KEYS = {"group_size", "bits"}
PACKINGS = {(packing.bits, packing.block): packing for packing in (Q2_0, PQ2_0, Q1_0)}
"""By bits a weight and weights in a group."""


def is_mlx(section: Mapping[str, Any]) -> bool:
    """Whether a `quantization_config` is MLX's: it has the keys of `quantization`, and names no method."""
    return section.keys() >= KEYS and "quant_method" not in section


def parts_of(weight: str) -> tuple[str, str]:
    """The names of the scales and biases of the tensor `weight`."""
    module = weight.removesuffix(".weight")
    return f"{module}.scales", f"{module}.biases"


def affine_matrix(
    name: str, weight: StoredTensor, stored: Mapping[str, StoredTensor], columns: int, floats: Mapping[str, Encoding]
) -> TensorStream:
    """The matrix [out, columns] of words `weight` [out, columns * bits / 32], whose scales and biases [out, groups] are
    among `stored` in one of the types `floats`. Bits and group follow from the shapes, as modules may differ.

    Two bits are the codes -1, 0, 1 (and 2) times s, if the scale is s and the bias -s; one bit is -s or s, if the scale
    is 2s and the bias -s. Raises UnsupportedError for any other affine matrix, FormatError for parts that do not fit.
    """
    scales, biases = map(stored.get, parts_of(weight.name))
    if len(weight.shape) != 2 or scales is None or biases is None or {scales.dtype, biases.dtype} - floats.keys():
        raise UnsupportedError(f"its tensor {weight.name!r} is packed in words without MLX's affine scales and biases.")
    (rows, words), groups = weight.shape, scales.shape[-1] if len(scales.shape) == 2 else 0
    bits, rest = divmod(words * WORD_BITS, columns) if columns else (0, 1)
    if scales.shape != biases.shape or scales.shape[:1] != (rows,) or not groups or columns % groups or rest:
        raise FormatError(f"its tensor {weight.name!r} does not fit the model, or its scales and biases.")
    group = columns // groups
    packing = PACKINGS.get((bits, group))
    if packing is None:
        raise UnsupportedError(
            f"its tensor {weight.name!r} has {bits} bits a weight in groups of {group}, and of MLX's matrices "
            "Sterna reads ternary ones (2 bits in groups of 64 or 128) and binary ones (1 bit in groups of 128)."
        )
    encoding = Encoding[packing.name]

    def make() -> Iterator[Tensor]:
        blocks = np.empty(rows * groups, packing.dtype)
        blocks["d"] = _group_scales(weight.name, packing, *(_values(part, floats) for part in (scales, biases)))
        blocks["q"] = weight.data.reshape(len(blocks), -1)
        release(weight.data)
        yield Tensor(name, (rows, columns), encoding, blocks.view(np.uint8))

    return TensorStream(name, (rows, columns), encoding, make)


def _values(stored: StoredTensor, floats: Mapping[str, Encoding]) -> np.ndarray:
    return decode(Tensor(stored.name, stored.shape, floats[stored.dtype], stored.data)).reshape(-1)


def _group_scales(name: str, packing: Fields, scales: np.ndarray, biases: np.ndarray) -> np.ndarray:
    """The s of each group as float16."""
    if not np.array_equal(scales, -packing.step * biases):
        kind = "ternary" if packing.bits == 2 else "binary"
        raise UnsupportedError(
            f"its tensor {name!r} has {packing.bits} bits a weight that are not {kind}: its scales and biases are not "
            "those of -s and s."
        )
    with np.errstate(over="ignore"):
        stored = (np.float32(0) - biases).astype(np.float16)  # of two zeros the positive one
    if not np.array_equal(stored, -biases):
        raise UnsupportedError(f"its tensor {name!r} has scales that float16 does not hold exactly.")
    return stored

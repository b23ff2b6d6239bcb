"""Matrices of MLX folders (mlx-lm, `mode: affine`): integers q in little-endian words of 32 bits, and a scale and a
bias for each group of columns, `w = scale * q + bias`. Ternary and binary ones are packed in blocks again, exactly."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from sterna.errors import FormatError, UnsupportedError
from sterna.files.safetensors.reader import StoredTensor
from sterna.tensor.decode import decode
from sterna.tensor.encodings import Encoding
from sterna.tensor.pages import release
from sterna.tensor.tensor import CHUNK_WEIGHTS, Tensor, TensorStream
from sterna.tensor.ternary import pack_ternary

PARTS = (".scales", ".biases")
"""What follows the name of a module in the names of its scales and biases."""
WORD_BITS = 32
KEYS = {"group_size", "bits"}


def is_mlx(section: Mapping[str, Any]) -> bool:
    """Whether a `quantization_config` is MLX's: it has the keys of `quantization`, and names no method."""
    return section.keys() >= KEYS and "quant_method" not in section


def affine_matrix(
    name: str, weight: StoredTensor, stored: Mapping[str, StoredTensor], columns: int, floats: Mapping[str, Encoding]
) -> TensorStream:
    """The matrix [out, columns] of words `weight` [out, columns * bits / 32], whose scales and biases [out, groups] are
    among `stored` in one of the types `floats`. Bits and group follow from the shapes, as modules may differ.

    Two bits are the codes -1, 0, 1 (and 2), if the bias is minus the scale s; one bit is -s or s, if the bias is -s and
    the scale 2s. Raises UnsupportedError for any other affine matrix, FormatError for parts that do not fit.
    """
    scales, biases = (stored.get(weight.name.removesuffix(".weight") + part) for part in PARTS)
    if len(weight.shape) != 2 or scales is None or biases is None or {scales.dtype, biases.dtype} - floats.keys():
        raise UnsupportedError(f"its tensor {weight.name!r} is packed in words without MLX's affine scales and biases.")
    (rows, words), groups = weight.shape, scales.shape[-1] if len(scales.shape) == 2 else 0
    bits, rest = divmod(words * WORD_BITS, columns) if columns else (0, 1)
    if scales.shape != biases.shape or scales.shape[:1] != (rows,) or not groups or columns % groups or rest:
        raise FormatError(f"its tensor {weight.name!r} does not fit the model, or its scales and biases.")
    group = columns // groups
    if bits not in (1, 2) or group % Encoding.Q2_0.block:
        raise UnsupportedError(
            f"its tensor {weight.name!r} has {bits} bits a weight in groups of {group}, and of MLX's matrices "
            "Sterna reads ternary and binary ones (2 bits and 1 bit, in groups of 64 and 128)."
        )
    encoding = Encoding.Q2_0 if group % Encoding.PQ2_0.block else Encoding.Q1_0 if bits == 1 else Encoding.PQ2_0

    def make() -> Iterator[Tensor]:
        values = _group_scales(weight.name, bits, *(_values(part, floats) for part in (scales, biases)))
        fields = weight.data.view("<u4").reshape(weight.shape)
        step = max(CHUNK_WEIGHTS // columns, 1)
        parts = [
            _packed(weight.name, _codes(fields[first : first + step], bits), values[first : first + step], encoding)
            for first in range(0, rows, step)
        ]
        yield Tensor(name, (rows, columns), encoding, np.concatenate(parts))
        release(weight.data)

    return TensorStream(name, (rows, columns), encoding, make)


def _values(stored: StoredTensor, floats: Mapping[str, Encoding]) -> np.ndarray:
    return decode(Tensor(stored.name, stored.shape, floats[stored.dtype], stored.data))


def _group_scales(name: str, bits: int, scales: np.ndarray, biases: np.ndarray) -> np.ndarray:
    """The s of each group, float32 [out, groups]."""
    kind, factor = ("ternary", -1) if bits == 2 else ("binary", -2)
    if not np.array_equal(scales, biases * factor):
        raise UnsupportedError(
            f"its tensor {name!r} has {bits} bits a weight that are not {kind}: its scales and biases are not "
            "those of -s and s."
        )
    return np.float32(0) - biases  # of two zeros the positive one


def _codes(words: np.ndarray, bits: int) -> np.ndarray:
    """Int8 codes [rows, columns] of words [rows, words]."""
    shifts = np.arange(0, WORD_BITS, bits, dtype=np.uint32)
    fields = (words[..., None] >> shifts & np.uint32((1 << bits) - 1)).astype(np.int8).reshape(len(words), -1)
    return fields - np.int8(1) if bits == 2 else fields * np.int8(2) - np.int8(1)


def _packed(name: str, codes: np.ndarray, scales: np.ndarray, encoding: Encoding) -> np.ndarray:
    tensor, change = pack_ternary(name, codes, scales, encoding)
    if change:
        raise UnsupportedError(f"its tensor {name!r} has scales that float16 does not hold exactly.")
    return tensor.data

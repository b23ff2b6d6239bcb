"""Matrices of MLX folders (mlx-lm, `mode: affine`): integers q in little-endian words of 32 bits, and a scale and a
bias for each group of columns, `w = scale * q + bias`.

Ternary and binary ones are the blocks of GGUF's types with the scales apart: their fields have the same order of bits.
Others of at most 4 bits become Q4_1, which is the same mathematics in groups of 32; the rest has float32 values.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np

from sterna.checkpoint.hf.quantized.groups import GroupCodes
from sterna.checkpoint.hf.quantized.module import Module, packed, unpacked
from sterna.checkpoint.hf.quantized.signs import Signs
from sterna.checkpoint.hf.quantized.writer import Layout, Parts, Writer
from sterna.errors import FormatError, UnsupportedError
from sterna.files.safetensors.reader import FLOATS, StoredTensor
from sterna.tensor.decode import decode
from sterna.tensor.encodings import Encoding
from sterna.tensor.pages import release
from sterna.tensor.tensor import Tensor, TensorStream
from sterna.ternary.floats import exact_float16
from sterna.ternary.group_scaled import PQ2_0, Q1_0, Q2_0, Fields
from sterna.ternary.kquants import Q4_1

WORD_BITS = 32
KEYS = {"group_size", "bits"}
BITS = (1, 2, 3, 4, 5, 6, 8)
Q4_1_BLOCK = 32
PACKINGS = {(packing.bits, packing.block): packing for packing in (Q2_0, PQ2_0, Q1_0)}
"""By bits a weight and weights in a group."""


def is_mlx(section: Mapping[str, Any]) -> bool:
    """Whether a `quantization_config` is MLX's: it has the keys of `quantization`, and names no method."""
    return section.keys() >= KEYS and "quant_method" not in section


def parts_of(weight: str) -> tuple[str, str]:
    """The names of the scales and biases of the tensor `weight`."""
    module = weight.removesuffix(".weight")
    return f"{module}.scales", f"{module}.biases"


def affine_matrix(name: str, weight: StoredTensor, stored: Mapping[str, StoredTensor], columns: int) -> TensorStream:
    """The matrix [out, columns] of words `weight` [out, columns * bits / 32], whose scales and biases [out, groups] are
    floats among `stored`. Bits and group follow from the shapes, as modules may differ.

    Two bits are the codes -1, 0, 1 (and 2) times s, if the scale is s and the bias -s; one bit is -s or s, if the scale
    is 2s and the bias -s. Raises UnsupportedError for a matrix that is not affine, FormatError for parts that do not
    fit.
    """
    scales, biases = map(stored.get, parts_of(weight.name))
    if len(weight.shape) != 2 or scales is None or biases is None or {scales.dtype, biases.dtype} - FLOATS.keys():
        raise UnsupportedError(f"its tensor {weight.name!r} is packed in words without MLX's affine scales and biases.")
    (rows, words), groups = weight.shape, scales.shape[-1] if len(scales.shape) == 2 else 0
    bits, rest = divmod(words * WORD_BITS, columns) if columns else (0, 1)
    if scales.shape != biases.shape or scales.shape[:1] != (rows,) or not groups or columns % groups or rest:
        raise FormatError(f"its tensor {weight.name!r} does not fit the model, or its scales and biases.")
    if bits not in BITS:
        raise UnsupportedError(f"its tensor {weight.name!r} has {bits} bits a weight, and MLX's have 1 to 8.")
    factors, offsets = (decode(part.floats()).reshape(-1) for part in (scales, biases))
    if not (np.isfinite(factors).all() and np.isfinite(offsets).all()):
        raise FormatError(f"its tensor {weight.name!r} has scales or biases that are not finite.")
    packing = PACKINGS.get((bits, columns // groups))
    if packing is not None and _is_symmetric(packing, factors, offsets):
        return _ternary_matrix(name, weight, packing, (rows, columns), offsets)
    module = Module(name.removesuffix(".weight"), weight.name, (rows, columns), {"weight": weight})
    return _affine(module, bits, factors.reshape(rows, groups), offsets.reshape(rows, groups))


def _is_symmetric(packing: Fields, scales: np.ndarray, biases: np.ndarray) -> bool:
    """Whether codes stand for -s, s and what is between, with an s that float16 holds."""
    return np.array_equal(scales, -packing.step * biases) and exact_float16(biases) is not None


def _ternary_matrix(
    name: str, weight: StoredTensor, packing: Fields, shape: tuple[int, int], biases: np.ndarray
) -> TensorStream:
    encoding = Encoding[packing.name]

    def make() -> Iterator[Tensor]:
        blocks = np.empty(len(biases), packing.dtype)
        blocks["d"] = np.float32(0) - biases  # of two zeros the positive one
        blocks["q"] = weight.data.reshape(len(blocks), -1)
        release(weight.data)
        yield Tensor(name, shape, encoding, blocks.view(np.uint8))

    return TensorStream(name, shape, encoding, make)


def _affine(module: Module, bits: int, scales: np.ndarray, biases: np.ndarray) -> TensorStream:
    """The matrix of codes with scales and biases [out, groups]."""
    (rows, columns), d, m = module.shape, exact_float16(scales), exact_float16(biases)
    words = module.integers("weight", ("U32",))

    def codes() -> np.ndarray:
        return unpacked(words, bits, 1)

    if bits > 4 or columns // scales.shape[1] % Q4_1_BLOCK or d is None or m is None:
        spread = partial(np.repeat, repeats=columns // scales.shape[1], axis=1)
        return module.matrix(lambda: codes() * spread(scales) + spread(biases))

    def make() -> Iterator[Tensor]:
        blocks = np.empty((rows, columns // Q4_1_BLOCK), Q4_1)
        blocks["d"], blocks["m"] = (np.repeat(each, blocks.shape[1] // scales.shape[1], axis=1) for each in (d, m))
        low, high = np.moveaxis(codes().reshape(*blocks.shape, 2, Q4_1_BLOCK // 2), 2, 0)
        blocks["qs"] = low | high << 4
        release(module.parts["weight"].data)
        yield Tensor(f"{module.name}.weight", module.shape, Encoding.Q4_1, blocks.reshape(-1).view(np.uint8))

    return TensorStream(f"{module.name}.weight", module.shape, Encoding.Q4_1, make)


def parts(matrix: GroupCodes | Signs) -> Parts:
    """The tensors of a matrix. A bias is -zero * scale, rounded to float16, as MLX keeps biases; signs are bits with
    twice their scale, and its negative for a bias."""
    if isinstance(matrix, Signs):
        words, scales = packed(matrix.bits_set, 1, 1).view(np.uint32), matrix.scales
        return {"weight": words, "scales": (2 * scales).astype(np.float16), "biases": (-scales).astype(np.float16)}
    return {
        "weight": packed(matrix.codes, matrix.bits, 1).view(np.uint32),
        "scales": matrix.scales.astype(np.float16),
        "biases": (-matrix.zeros.astype(np.float32) * matrix.scales).astype(np.float16),
    }


def keys(layout: Layout) -> dict[str, Any]:
    """What mlx-lm writes, twice: `quantization` is its own name, the other that of Hugging Face."""
    section = {"group_size": layout.group_size, "bits": layout.bits, "mode": "affine"}
    return {"quantization": section, "quantization_config": section}


WRITER = Writer("mlx", (1, 2, 3, 4, 8), parts, keys, group_sizes=(32, 64, 128))

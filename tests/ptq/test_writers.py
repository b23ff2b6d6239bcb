"""What writers of quantised matrices write, their readers read back as it was, codes and scales alike."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given as drawn
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sterna.checkpoint.gguf.groups import blocks
from sterna.checkpoint.hf import mlx
from sterna.checkpoint.hf.quantized import METHODS, aqlm, littlebit
from sterna.checkpoint.hf.quantized.groups import GroupCodes
from sterna.checkpoint.hf.quantized.module import Module, packed, unpacked
from sterna.checkpoint.hf.quantized.writer import Layout, Parts, Writer
from sterna.checkpoint.hf.writers import WRITERS
from sterna.errors import UnsupportedError
from sterna.files.safetensors.reader import StoredTensor
from sterna.model.oracle import rotate
from sterna.tensor.decode import decode
from sterna.tensor.encodings import Encoding
from sterna.tensor.tensor import TensorStream, whole

from .. import helpers

ROWS, COLUMNS = 64, 128
PLAIN = ("awq", "gptq", "compressed-tensors", "mlx")
"""Formats whose matrices are codes in groups of columns and nothing more."""
TYPES = {"|i1": "I8", "<i4": "I32", "<u4": "U32", "<f2": "F16", "<i2": "I16", "<i8": "I64"}


def matrix(bits: int, group: int, **more: Any) -> GroupCodes:
    rng, shape = np.random.default_rng(bits), (ROWS, COLUMNS // group)
    codes = rng.integers(0, 1 << bits, (ROWS, COLUMNS)).astype(np.uint8)
    scales = rng.uniform(0.01, 0.1, shape).astype(np.float16).astype(np.float32)
    return GroupCodes(bits, codes, scales, rng.integers(0, 1 << bits, shape).astype(np.uint8), **more)


def as_stored(parts: Parts) -> dict[str, StoredTensor]:
    """The parts of a matrix as a folder has them."""
    stored = {}
    for ending, part in parts.items():
        data = np.ascontiguousarray(part).reshape(-1).view(np.uint8)
        stored[ending] = StoredTensor(f"m.{ending}", TYPES[part.dtype.str], part.shape, data)
    return stored


def read_back(writer: Writer, given: GroupCodes, act_order: bool = False) -> list[TensorStream]:
    stored = as_stored(writer.parts(given))
    raw = writer.keys(Layout(given.bits, given.group_size, False, act_order))
    if writer.name == "mlx":
        assert mlx.is_mlx(raw["quantization"])
        parts = {part.name: part for part in stored.values()}
        return [mlx.affine_matrix("m.weight", parts["m.weight"], parts, COLUMNS)]
    section = raw["quantization_config"]
    method = METHODS[section["quant_method"]]
    method.check(section)
    assert method.anchor in stored and stored.keys() <= set(method.endings)
    return method.read(Module("m", "m", (ROWS, COLUMNS), stored), section)


@pytest.mark.parametrize("group", [32, 64, 128])
@pytest.mark.parametrize(("format", "bits"), [(name, bits) for name in PLAIN for bits in WRITERS[name].bits])
def test_a_matrix_is_read_back_as_it_was(format: str, bits: int, group: int) -> None:
    given = matrix(bits, group)
    (stream,) = read_back(WRITERS[format], given)
    # MLX keeps zero points as biases in float16.
    tolerance = 2**-10 * float(np.abs(given.values()).max()) if format == "mlx" else 0
    np.testing.assert_allclose(decode(whole(stream)), given.values(), rtol=0, atol=tolerance)


def test_columns_in_the_order_of_activations_are_read_back() -> None:
    index = np.random.default_rng(1).permutation(np.arange(COLUMNS) // 32).astype(np.int32)
    given = matrix(4, 32, index=index)
    weight, order = read_back(WRITERS["gptq"], given, act_order=True)
    columns = decode(whole(order)).astype(int)
    assert np.array_equal(decode(whole(weight)), given.values()[:, columns])


def test_rotations_are_read_back_and_turn_the_input_as_the_values_say() -> None:
    rng, group = np.random.default_rng(2), 32
    pairs = np.stack(
        [np.concatenate([rng.permutation(group) + at for at in range(0, COLUMNS, group)]) for _ in range(3)]
    )
    given = matrix(
        4,
        group,
        pairs=pairs.astype(np.int32),
        angles=rng.standard_normal((3, COLUMNS // 2)).astype(np.float16).astype(np.float32),
        channel_scales=rng.uniform(0.5, 2, COLUMNS).astype(np.float16).astype(np.float32),
    )
    tensors = {stream.name: whole(stream) for stream in read_back(WRITERS["paro"], given)}
    parts = {name: decode(tensor) for name, tensor in tensors.items()}
    x = rng.standard_normal((5, COLUMNS)).astype(np.float32)
    turned = rotate(x * parts["m_rotation.scales"], parts["m_rotation.angles"], parts["m_rotation.pairs"])
    assert helpers.relative_error(x @ given.values().T, turned @ decode(tensors["m.weight"]).T) < 1e-5


@pytest.mark.parametrize("books", WRITERS["aqlm"].bits)
def test_sums_of_codebooks_are_read_back_as_they_were(books: int) -> None:
    rng = np.random.default_rng(books)
    codes = rng.integers(0, 256, (ROWS, COLUMNS // 8, books)).astype(np.uint8)
    codebooks, scales = (
        rng.uniform(0.5, 2, shape).astype(np.float16).astype(np.float32) for shape in ((books, 256, 8), ROWS)
    )
    given = aqlm.AdditiveCodes(codes, codebooks, scales)
    (stream,) = aqlm.AQLM.read(Module("m", "m", (ROWS, COLUMNS), as_stored(aqlm.parts(given))), {})
    assert np.array_equal(decode(whole(stream)), given.values())


@settings(max_examples=20, deadline=None)
@drawn(st.integers(1, 70), st.integers(1, 70), st.integers(1, 70), st.integers(0, 9))
def test_products_of_signs_are_read_back_as_they_were(rows: int, rank: int, columns: int, seed: int) -> None:
    rng = np.random.default_rng(seed)

    def product() -> littlebit.SignProduct:
        left, right = (rng.choice([-1, 1], shape).astype(np.int8) for shape in ((rows, rank), (rank, columns)))
        # Powers of two, whose products are exact in any order.
        scales = (np.float32(2) ** rng.integers(-2, 2, size).astype(np.float32) for size in (rows, rank, rank, columns))
        return littlebit.SignProduct(left, right, *scales)

    given = littlebit.SignProducts(product(), product())
    (stream,) = littlebit.LITTLEBIT.read(Module("m", "m", (rows, columns), as_stored(littlebit.parts(given))), {})
    assert np.array_equal(decode(whole(stream)), given.values())


@pytest.mark.parametrize(("bits", "middle", "encoding"), [(4, True, "Q4_0"), (4, False, "Q4_1"), (8, True, "Q8_0")])
def test_blocks_of_gguf_hold_the_codes(bits: int, middle: bool, encoding: str) -> None:
    given = matrix(bits, 64)
    if middle:
        given = helpers.replace(given, zeros=np.full_like(given.zeros, 1 << bits - 1))
    tensor = blocks("m", given)
    assert tensor.encoding is Encoding[encoding]
    tolerance = 0 if middle else 2**-10 * float(np.abs(given.values()).max())
    np.testing.assert_allclose(decode(tensor), given.values(), rtol=0, atol=tolerance)


def test_what_no_type_of_gguf_holds_is_refused() -> None:
    for given in (matrix(3, 32), matrix(8, 32), matrix(4, 16), matrix(4, 32, index=np.zeros(COLUMNS, np.int32))):
        with pytest.raises(UnsupportedError, match="No type of GGUF holds"):
            blocks("m", given)


@settings(max_examples=30, deadline=None)
@drawn(st.sampled_from([2, 3, 4, 8]), st.integers(1, 3), st.integers(1, 3), st.integers(0, 1), st.data())
def test_codes_survive_their_words(bits: int, rows: int, words: int, axis: int, data: st.DataObject) -> None:
    codes = data.draw(arrays(np.uint8, (rows, 32 * words), elements=st.integers(0, (1 << bits) - 1)))
    codes = codes if axis else codes.T
    assert np.array_equal(unpacked(packed(codes, bits, axis), bits, axis), codes)


def test_codes_that_fill_no_words_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="do not fill whole words"):
        packed(np.zeros((4, 33), np.uint8), 3, 1)

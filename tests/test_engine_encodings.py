"""Products with matrices of every encoding: the engine against the oracle."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sterna import LLM, _native
from sterna.checkpoint import open_checkpoint
from sterna.engine.backend import Span
from sterna.engine.native import NativeBackend, native_tensors
from sterna.errors import FormatError
from sterna.files.gguf import write_gguf
from sterna.model.operations import Embed, Linear
from sterna.model.oracle import linear
from sterna.model.plan import Head, Plan
from sterna.tensor.decode import decode, ternary_codes
from sterna.tensor.encodings import Encoding, TernaryBlocks
from sterna.tensor.tensor import Tensor
from sterna.tensor.ternary import pack_ternary, recode
from sterna.ternary.i2s import unpack_i2s

from . import helpers

GROUPS = [e for e in Encoding if isinstance(e.packing, TernaryBlocks) and e.packing.group and e.packing.pack]
"""Encodings with a scale for each block of ternary or binary weights."""
BLOCKS = [encoding for encoding in Encoding if not (encoding.is_ternary or encoding.is_float)]


def product(matrix: Tensor, x: np.ndarray, int8: bool, isa: str = "", threads: int = 1) -> np.ndarray:
    """`x @ matrix.T` by the engine; x is given as an embedding matrix."""
    width = matrix.shape[0]
    table = helpers.float_tensor("table", x)
    head = helpers.float_tensor("head", np.zeros((1, width)))
    kind = ("int8" if int8 else "none") if matrix.encoding.is_ternary else matrix.encoding.activations
    operations = [Embed("x", "table"), Linear("hidden", "x", matrix.name, None, kind)]
    plan = Plan(len(x), Head("head"), "hidden", {"x": x.shape[1], "hidden": width}, operations=operations)
    tensors = {"table": table, "head": head, matrix.name: matrix}
    backend = NativeBackend(plan, tensors, isa=isa, threads=threads, blocks=1)
    return backend.forward([Span(range(len(x)), 0, [], len(x))])


def activations(n: int, columns: int) -> np.ndarray:
    return np.random.default_rng(7).standard_normal((n, columns)).astype(np.float32)


def random_codes(rows: int, columns: int) -> np.ndarray:
    codes = np.random.default_rng(8).integers(-1, 2, (rows, columns)).astype(np.int8)
    codes[rows // 2, :256] = 0
    return codes


@pytest.mark.parametrize("int8", [True, False])
@pytest.mark.parametrize("n_tokens", [1, 5, 70])
@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("encoding", GROUPS)
def test_matrices_with_scales_of_blocks_multiply_exactly(
    encoding: Encoding, shared: bool, n_tokens: int, int8: bool
) -> None:
    codes = random_codes(100, 768)
    if encoding is Encoding.Q1_0:
        codes[codes == 0] = 1
    groups = 768 // encoding.block
    scales = np.random.default_rng(9).uniform(-2, 2, (100, groups)).astype(np.float16).astype(np.float32)
    matrix, _ = pack_ternary("w", codes, 0.03125 if shared else scales, encoding)
    x = activations(n_tokens, 768)
    got = product(matrix, x, int8)
    if shared:  # the same bits as with I2_S
        assert np.array_equal(got, product(recode(matrix, Encoding.I2_S)[0], x, int8))
    expected = linear(ternary_codes(matrix), x, "int8" if int8 else "none")
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-4)
    for isa in _native.available_isas():
        assert np.array_equal(product(matrix, x, int8, isa, threads=2), got), isa
    assert np.array_equal(product(matrix, x[:1], int8), got[:1])


@pytest.mark.parametrize("n_tokens", [1, 4, 70])
@pytest.mark.parametrize("encoding", BLOCKS)
def test_matrices_of_block_formats_take_int15_activations(encoding: Encoding, n_tokens: int) -> None:
    matrix = helpers.random_blocks(encoding, 100, 768)  # 100 rows: the last panel has four
    x = activations(n_tokens, 768)
    got = product(matrix, x, int8=False)
    expected = linear(decode(matrix), x, "int15")
    assert helpers.relative_error(expected, got) < 1e-6
    assert helpers.relative_error(linear(decode(matrix), x), got) < 2e-4
    for isa in _native.available_isas():
        assert np.array_equal(product(matrix, x, False, isa, threads=2), got), isa
    assert np.array_equal(product(matrix, x[:1], False), got[:1])


def test_rows_of_a_few_blocks_are_multiplied() -> None:
    for columns in (32, 96, 576):
        matrix, x = helpers.random_blocks(Encoding.Q4_1, 48, columns), activations(9, columns)
        assert helpers.relative_error(linear(decode(matrix), x, "int15"), product(matrix, x, int8=False)) < 1e-6


@pytest.mark.parametrize("encoding", GROUPS)
def test_blocks_become_the_same_codes_as_in_numpy(encoding: Encoding) -> None:
    rng, block = np.random.default_rng(10), encoding.block
    for shape in ((1, block), (7, 3 * block), (64, 2560)):
        held = [-1, 1] if encoding is Encoding.Q1_0 else [-1, 0, 1]
        codes, scales = rng.choice(np.array(held, np.int8), shape), rng.uniform(0.5, 1, (shape[0], shape[1] // block))
        scales = scales.astype(np.float16)
        scales.reshape(-1)[::5] = 0
        packing = encoding.packing
        assert isinstance(packing, TernaryBlocks) and packing.pack is not None
        packed, found = _native.to_i2s(packing.pack(codes, scales), encoding.value, shape[1])
        assert packed is not None
        # A block whose scale is 0 holds zeros, whatever its codes are.
        effective = codes.reshape(-1, block) * (scales.reshape(-1, 1) != 0).astype(np.int8)
        padded = (shape[0], -(-shape[1] // 128) * 128)
        rows = unpack_i2s(packed, padded, strict=True)
        assert np.array_equal(rows[:, : shape[1]].reshape(-1, block), effective) and not rows[:, shape[1] :].any()
        assert np.array_equal(found, scales.reshape(-1) if scales.size > 2 else [0.0])
    with pytest.raises(ValueError, match="whole number of rows"):
        _native.to_i2s(np.zeros(encoding.block_bytes - 1, np.uint8), encoding.value, block)
    with pytest.raises(ValueError, match="'f32'"):
        _native.to_i2s(np.zeros(54, np.uint8), "f32", 256)


def test_the_weight_2_of_q2_0_is_kept_exactly() -> None:
    codes, scales = np.tile(np.arange(-1, 3, dtype=np.int8), (5, 64)), np.full((5, 4), 0.5, np.float16)
    packing = Encoding.Q2_0.packing
    assert isinstance(packing, TernaryBlocks) and packing.pack is not None
    matrix = Tensor("w", codes.shape, Encoding.Q2_0, packing.pack(codes, scales))
    assert _native.to_i2s(matrix.data, "q2_0", 256)[0] is None
    encoding, _, data, scale, _ = native_tensors([matrix], 1)["w"]
    assert encoding == "q8_0" and scale == 1
    assert np.array_equal(decode(Tensor("w", codes.shape, Encoding.Q8_0, data)), codes * np.float32(0.5))


INT15 = replace(helpers.TINY, hidden_size=256, intermediate_size=512, head_dim=64)


def tq_model(path: Path, encoding: Encoding, **changes: Tensor) -> dict[str, Tensor]:
    """Writes a model with matrices in TQ; returns its tensors."""
    tensors = {
        name: pack_ternary(name, ternary_codes(tensor)[0], 0.0625, encoding)[0]
        if tensor.encoding.is_ternary
        else tensor
        for name, tensor in helpers.tiny_tensors(INT15).items()
    }
    tensors |= changes
    write_gguf(path, helpers.gguf_metadata(INT15), tensors.values())
    return tensors


@pytest.mark.parametrize("encoding", [Encoding.TQ1_0, Encoding.TQ2_0])
def test_scale_tensors_of_older_files_multiply_tq_too(tmp_path: Path, encoding: Encoding) -> None:
    path = tmp_path / "m.gguf"
    tensors = tq_model(path, encoding)
    plain = LLM(path).logits([1, 2, 3])
    name = "blk.0.attn_q.weight"
    halved = pack_ternary(name, ternary_codes(tensors[name])[0], 0.03125, encoding)[0]
    scale = helpers.float_tensor("blk.0.attn_q.scale", np.array([2.0]))
    tq_model(path, encoding, **{name: halved, scale.name: scale})
    assert open_checkpoint(path).load().tensors[name].scale == 2
    assert np.array_equal(LLM(path).logits([1, 2, 3]), plain)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("encoding", [Encoding.TQ1_0, Encoding.TQ2_0])
def test_block_scales_that_are_not_finite_are_refused(tmp_path: Path, encoding: Encoding, value: float) -> None:
    path, name = tmp_path / "m.gguf", "blk.1.ffn_down.weight"
    tensors = tq_model(path, encoding)
    for at in (-2, 52 if encoding is Encoding.TQ1_0 else 64):
        data = tensors[name].data.copy()
        data[at:][:2] = np.array([value], "<f2").view(np.uint8)
        tq_model(path, encoding, **{name: replace(tensors[name], data=data)})
        with pytest.raises(FormatError, match=f"'{name}'.*not finite"):
            LLM(path)

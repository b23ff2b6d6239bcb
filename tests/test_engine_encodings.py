"""Products with matrices of every encoding: the engine against the oracle."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sterna import LLM, _native
from sterna.checkpoint import open_checkpoint
from sterna.engine.backend import Span
from sterna.engine.native import NativeBackend
from sterna.errors import FormatError
from sterna.files.gguf import write_gguf
from sterna.model.operations import Embed, Linear
from sterna.model.oracle import linear
from sterna.model.plan import Head, Plan
from sterna.tensor.decode import decode, ternary_codes
from sterna.tensor.encodings import Encoding
from sterna.tensor.tensor import Tensor
from sterna.tensor.ternary import pack_ternary, recode
from sterna.ternary.i2s import unpack_i2s

from . import helpers

TQ = (Encoding.TQ1_0, Encoding.TQ2_0)
BLOCKS = [Encoding(name) for name, *_, activations in _native.formats() if activations == "int15"]


def product(matrix: Tensor, x: np.ndarray, int8: bool, isa: str = "", threads: int = 1) -> np.ndarray:
    """`x @ matrix.T` by the engine; x is given as an embedding matrix."""
    width = matrix.shape[0]
    table = helpers.float_tensor("table", x)
    head = helpers.float_tensor("head", np.zeros((1, width)))
    own = matrix.encoding.activations
    kind = own if own != "int8" or int8 else "none"
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
@pytest.mark.parametrize("encoding", TQ)
def test_tq_matrices_multiply_exactly(encoding: Encoding, shared: bool, n_tokens: int, int8: bool) -> None:
    codes = random_codes(100, 768)
    scales = np.random.default_rng(9).uniform(-2, 2, (100, 3)).astype(np.float16).astype(np.float32)
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


@pytest.mark.parametrize("encoding", TQ)
def test_tq_becomes_the_same_codes_as_in_numpy(encoding: Encoding) -> None:
    rng = np.random.default_rng(10)
    for shape in ((1, 256), (7, 768), (64, 2560)):
        data = rng.integers(0, 256, shape[0] * shape[1] // 256 * (54 if encoding is Encoding.TQ1_0 else 66), np.uint8)
        blocks = data.reshape(-1, 54 if encoding is Encoding.TQ1_0 else 66)
        blocks[:, -2:] = rng.uniform(0.5, 1, len(blocks)).astype("<f2").view(np.uint8).reshape(-1, 2)
        blocks[::5, -2:] = 0
        codes, scales = ternary_codes(Tensor("w", shape, encoding, data))
        packed, found = _native.tq_to_i2s(data, encoding.value)
        # A block whose scale is 0 holds zeros, whatever its bytes say.
        effective = codes.reshape(-1, 256) * (scales.reshape(-1, 1) != 0)
        assert np.array_equal(unpack_i2s(packed, shape, strict=True).reshape(-1, 256), effective)
        assert np.array_equal(found, scales.reshape(-1) if len(blocks) > 2 else [0.0])
    with pytest.raises(ValueError, match="whole number of blocks"):
        _native.tq_to_i2s(np.zeros(53, np.uint8), encoding.value)
    with pytest.raises(ValueError, match="'f32'"):
        _native.tq_to_i2s(np.zeros(54, np.uint8), "f32")


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


@pytest.mark.parametrize("encoding", TQ)
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
@pytest.mark.parametrize("encoding", TQ)
def test_block_scales_that_are_not_finite_are_refused(tmp_path: Path, encoding: Encoding, value: float) -> None:
    path, name = tmp_path / "m.gguf", "blk.1.ffn_down.weight"
    tensors = tq_model(path, encoding)
    for at in (-2, 52 if encoding is Encoding.TQ1_0 else 64):
        data = tensors[name].data.copy()
        data[at:][:2] = np.array([value], "<f2").view(np.uint8)
        tq_model(path, encoding, **{name: replace(tensors[name], data=data)})
        with pytest.raises(FormatError, match=f"'{name}'.*not finite"):
            LLM(path)

"""Ternary tensors from one encoding into another: codes to the bit, scales as far as they can be kept."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sterna.errors import FormatError, UnsupportedError
from sterna.tensor import tensor as tensor_module
from sterna.tensor.decode import decode
from sterna.tensor.encodings import Encoding
from sterna.tensor.recode import permute_blocks
from sterna.tensor.tensor import Tensor, whole
from sterna.tensor.ternary import (
    RowLengthError,
    float_ternary,
    pack_ternary,
    recode,
    ternary_codes,
)

from .helpers import float_tensor

TQ = (Encoding.TQ1_0, Encoding.TQ2_0)
HALF = 0.0123291015625
"""A scale that float16 holds exactly."""


def random_codes(seed: int, rows: int, columns: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    codes = rng.integers(-1, 2, (rows, columns)).astype(np.int8)
    codes[:, :256] *= rng.integers(0, 2, (rows, 1), np.int8)  # some blocks of zeros
    return codes


@given(st.integers(0, 99), st.integers(1, 5), st.integers(1, 3), st.floats(2**-9, 1e3, width=32))
def test_every_way_between_encodings_keeps_the_codes(seed: int, rows: int, blocks: int, scale: float) -> None:
    codes = random_codes(seed, rows, 256 * blocks)
    tensor, change = pack_ternary("w", codes, scale, Encoding.I2_S)
    assert change == 0 and tensor.scale == scale
    changes = []
    for encoding in (*TQ, Encoding.TQ2_0, Encoding.I2_S, *TQ[::-1], Encoding.I2_S):
        tensor, change = recode(tensor, encoding)
        changes.append(change)
        assert tensor.encoding is encoding and encoding.is_ternary
        assert np.array_equal(ternary_codes(tensor)[0], codes)
    wanted = float(np.float16(scale)) if codes.any() else 1.0
    assert tensor.scale == wanted and not any(changes[1:])
    assert changes[0] == pytest.approx(abs(wanted - scale) / scale if codes.any() else 0)


def test_large_matrices_go_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    codes = random_codes(0, 300, 768)
    whole, _ = pack_ternary("w", codes, HALF, Encoding.TQ1_0)
    monkeypatch.setattr(tensor_module, "CHUNK_WEIGHTS", 128 * 768)
    assert list(whole.row_chunks()) == [(0, 128), (128, 256), (256, 300)]
    i2s, _ = recode(whole, Encoding.I2_S)
    assert i2s.scale == HALF and np.array_equal(ternary_codes(i2s)[0], codes)
    again, _ = recode(i2s, Encoding.TQ1_0)
    assert np.array_equal(again.data, whole.data)
    assert np.array_equal(ternary_codes(i2s.rows(128, 256))[0], codes[128:256])
    with pytest.raises(ValueError, match="whole blocks"):
        Tensor("w", (4, 32), Encoding.I2_S, np.zeros(32, np.uint8)).rows(1, 4)


@pytest.mark.parametrize("encoding", TQ)
def test_blocks_keep_their_own_scales_where_the_target_has_blocks(encoding: Encoding) -> None:
    codes = random_codes(3, 6, 1024)
    scales = np.random.default_rng(4).uniform(0.5, 2, (6, 4)).astype(np.float16).astype(np.float32)
    tensor, change = pack_ternary("w", codes, scales, encoding)
    other, again = recode(tensor, TQ[1 - TQ.index(encoding)])
    assert change == again == 0 and np.array_equal(decode(tensor), decode(other))
    values = (codes.reshape(6, 4, 256) * scales[..., None]).reshape(6, 1024)
    assert np.array_equal(decode(tensor), values)
    with pytest.raises(UnsupportedError, match="'w'.*different scales.*TQ1_0, TQ2_0 or F16"):
        recode(tensor, Encoding.I2_S)


def test_what_a_target_cannot_hold_is_refused() -> None:
    ragged = np.ones((2, 320), np.int8)
    for encoding in TQ:
        with pytest.raises(RowLengthError, match="'w'.*320.*256"):
            pack_ternary("w", ragged, 1.0, encoding)
        for scale in (1e6, 1e-9):
            with pytest.raises(UnsupportedError, match="'w'.*float16"):
                pack_ternary("w", np.ones((1, 256), np.int8), scale, encoding)
    assert pack_ternary("w", ragged, 1e-9, Encoding.I2_S)[0].scale == np.float32(1e-9)
    with pytest.raises(RowLengthError, match="'w'"):
        pack_ternary("w", np.ones((1, 64), np.int8), 1.0, Encoding.I2_S)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("encoding", TQ)
def test_block_scales_must_be_finite(encoding: Encoding, value: float) -> None:
    tensor, _ = pack_ternary("w", np.ones((2, 512), np.int8), 1.0, encoding)
    data = tensor.data.copy()
    data[-2:] = np.array([value], "<f2").view(np.uint8)
    broken = Tensor("w", tensor.shape, encoding, data)
    for use in (ternary_codes, decode, lambda t: recode(t, Encoding.I2_S)):
        with pytest.raises(FormatError, match="'w'.*not finite"):
            use(broken)


@pytest.mark.parametrize("encoding", [Encoding.F32, Encoding.F16])
def test_floats_that_were_ternary_are_found(encoding: Encoding) -> None:
    codes = random_codes(5, 300, 512)
    found = float_ternary(float_tensor("w", codes * np.float32(HALF), encoding))
    assert found is not None and found[1] == HALF and np.array_equal(found[0], codes)
    values = (codes * np.float32(HALF)).astype(np.float32)
    values[-1, -1] = HALF / 2
    assert float_ternary(float_tensor("w", values, encoding)) is None
    for odd in (np.nan, np.inf):
        values[-1, -1] = odd
        assert float_ternary(float_tensor("w", values, encoding)) is None
    assert float_ternary(float_tensor("w", np.zeros((2, 256)), encoding)) is None
    assert float_ternary(float_tensor("w", np.full((2, 256), np.inf), encoding)) is None


@pytest.mark.parametrize("encoding", [*TQ, Encoding.I2_S])
@pytest.mark.parametrize("runs", [2, 4])
def test_permuted_runs_of_columns_keep_their_values(encoding: Encoding, runs: int) -> None:
    codes = random_codes(6, 4, 512)
    tensor = replace(pack_ternary("w", codes, HALF, encoding)[0], scale=HALF)
    order = np.roll(np.arange(runs), 1)
    expected = decode(tensor).reshape(4, runs, -1)[:, order].reshape(4, -1)
    assert np.array_equal(decode(whole(permute_blocks(tensor, order))), expected)

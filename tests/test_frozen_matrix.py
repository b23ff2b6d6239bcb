"""Products with a stored matrix and with its transpose, outside any plan: `_native.Matrix` against numpy."""

from __future__ import annotations

import numpy as np
import pytest

from sterna import _native
from sterna.engine.native import native_tensors
from sterna.model.oracle import linear
from sterna.tensor.decode import decode, ternary_codes
from sterna.tensor.encode import encode
from sterna.tensor.encodings import Encoding
from sterna.tensor.tensor import Tensor
from sterna.tensor.ternary import pack_ternary

from .helpers import random_blocks

ISAS = _native.available_isas()
FORMATS = {Encoding(name): activations for name, *_, activations in _native.formats()}


def matrix(encoding: Encoding, rows: int, columns: int) -> Tensor:
    if encoding is Encoding.I2_S:
        codes = np.random.default_rng(2).integers(-1, 2, (rows, columns)).astype(np.int8)
        return pack_ternary("w", codes, 0.03125, encoding)[0]
    if FORMATS[encoding] == "none":
        return encode("w", np.random.default_rng(3).standard_normal((rows, columns)).astype(np.float32), encoding)
    return random_blocks(encoding, rows, columns)


def native(tensor: Tensor, activations: str, group_size: int = 0, isa: str = ISAS[0]) -> _native.Matrix:
    return _native.Matrix(native_tensors([tensor], 1)[tensor.name], activations, group_size, isa)


def values(*shape: int) -> np.ndarray:
    return np.random.default_rng(4).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("n", [1, 70])
@pytest.mark.parametrize("encoding", FORMATS)
def test_the_transposed_product_is_that_of_the_decoded_matrix(encoding: Encoding, n: int) -> None:
    tensor = matrix(encoding, 100, 768)
    g = values(n, 100)
    exact = g.astype(np.float64) @ decode(tensor)
    seen: list[np.ndarray] = []
    for isa in ISAS:
        got = native(tensor, "none", isa=isa).multiply_transposed(g, 2)
        splits = isa == "amx" and n >= 16 and encoding is not Encoding.I2_S
        np.testing.assert_allclose(got, exact, atol=(1e-5 if splits else 2e-6) * np.abs(exact).max(), rtol=0)
        assert np.array_equal(native(tensor, "none", isa=isa).multiply_transposed(g, 1), got), isa
        assert splits or np.array_equal(got, seen[0] if seen else got), isa
        seen += [] if splits else [got]


@pytest.mark.parametrize("n", [15, 16, 70, 600])
@pytest.mark.parametrize("encoding", [Encoding.F32, Encoding.Q4_1, Encoding.Q6_K, Encoding.I2_S])
def test_the_product_with_floats_is_that_of_the_decoded_matrix(encoding: Encoding, n: int) -> None:
    tensor = matrix(encoding, 100, 768)
    x = values(n, 768)
    exact = x.astype(np.float64) @ decode(tensor).T
    got = native(tensor, "none" if encoding is Encoding.I2_S else FORMATS[encoding]).multiply(x, 2)
    np.testing.assert_allclose(got, exact, atol=2e-4 * np.abs(exact).max(), rtol=0)


@pytest.mark.parametrize("n", [1, 43, 130])
@pytest.mark.parametrize(("rows", "columns"), [(100, 768), (16, 72), (320, 200)])
def test_gradients_meet_codes_as_three_digits(rows: int, columns: int, n: int) -> None:
    codes = np.random.default_rng(2).integers(-1, 2, (rows, columns)).astype(np.int8)
    tensor = pack_ternary("w", codes, 0.75, Encoding.I2_S)[0]
    g = values(n, rows) * np.float32(2.0) ** (np.arange(n) % 40 - 20).astype(np.float32)[:, None]
    g[0, 1:] = 0
    g[-1] *= 0 if n > 1 else 1
    largest = 63 * 65536 + 127 * 256 + 127
    factors = np.float32(largest) / np.maximum(np.abs(g).max(1), np.float32(1e-30))
    whole = np.rint(g * factors[:, None]).astype(np.int64)
    third = (whole + 128) % 256 - 128
    second = ((whole - third) // 256 + 128) % 256 - 128
    first = (whole - third - 256 * second) // 65536
    high, middle, low = (np.float32(digit @ codes) for digit in (first, second, third))
    expected = (high * np.float32(65536) + middle * np.float32(256) + low) * (np.float32(0.75) / factors)[:, None]
    for isa in ISAS:
        assert np.array_equal(native(tensor, "int8", isa=isa).multiply_transposed(g, 2), expected), isa


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_a_gradient_that_is_not_finite_stays_so(wrong: float) -> None:
    tensor, g = matrix(Encoding.I2_S, 100, 768), values(3, 100)
    g[1, 50] = wrong
    finite = np.isfinite(native(tensor, "int8").multiply_transposed(g, 1))
    assert finite[[0, 2]].all() and not finite[1].any()


@pytest.mark.parametrize("columns", [72, 576])
def test_rows_of_codes_that_fill_no_whole_block(columns: int) -> None:
    tensor = matrix(Encoding.I2_S, 64, columns)
    g, weights = values(600, 64), decode(tensor)
    got = native(tensor, "int8").multiply_transposed(g, 2)
    np.testing.assert_allclose(got, g @ weights, atol=1e-5)
    assert np.array_equal(native(tensor, "int8").rows(np.array([32, 0], np.int32)), weights[[32, 0]])


def test_scales_of_groups_of_columns() -> None:
    codes = np.random.default_rng(5).integers(-1, 2, (40, 768)).astype(np.int8)
    scales = np.random.default_rng(6).uniform(0.5, 2, (40, 3)).astype(np.float16).astype(np.float32)
    tensor, _ = pack_ternary("w", codes, scales, Encoding.TQ2_0)
    g, x = values(5, 40), values(5, 768)
    np.testing.assert_allclose(native(tensor, "int8").multiply_transposed(g, 1), g @ decode(tensor), atol=1e-4)
    np.testing.assert_allclose(
        native(tensor, "int8").multiply(x, 1), linear(ternary_codes(tensor), x, "int8"), atol=1e-3
    )


@pytest.mark.parametrize("n", [1, 70, 300])
def test_the_product_of_codes_is_exact(n: int) -> None:
    tensor, x = matrix(Encoding.I2_S, 100, 768), values(n, 768)
    expected = linear(ternary_codes(tensor), x, "int8")
    for isa in ISAS:
        assert np.array_equal(native(tensor, "int8", isa=isa).multiply(x, 2), expected), isa


def test_what_does_not_fit_is_refused() -> None:
    tensor = native(matrix(Encoding.I2_S, 8, 128), "int8")
    for wrong in (lambda: tensor.multiply(values(2, 127), 1), lambda: tensor.multiply_transposed(values(2, 9), 1)):
        with pytest.raises(ValueError, match="values wide"):
            wrong()
    with pytest.raises(ValueError, match="no such row"):
        tensor.rows(np.array([8], np.int32))
    with pytest.raises(ValueError, match="does not know the activations"):
        native(matrix(Encoding.I2_S, 8, 128), "int3")
    assert tensor.multiply(values(0, 128), 1).shape == (0, 8)

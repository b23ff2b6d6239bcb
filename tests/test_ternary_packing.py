from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sterna.ternary import pack_hf, pack_i2s, unpack_hf, unpack_i2s


def random_codes(seed: int, shape: tuple[int, int]) -> np.ndarray:
    return np.random.default_rng(seed).integers(-1, 2, shape).astype(np.int8)


@given(st.integers(0, 1000), st.integers(1, 9), st.integers(1, 9))
def test_i2s_round_trip(seed: int, rows: int, columns: int) -> None:
    codes = random_codes(seed, (rows * 16, columns * 8))
    packed = pack_i2s(codes)
    assert packed.dtype == np.uint8 and packed.shape == (codes.size // 4,)
    assert np.array_equal(unpack_i2s(packed, codes.shape, strict=True), codes)
    assert np.array_equal(pack_i2s(unpack_i2s(packed, codes.shape)), packed)


@given(st.integers(0, 1000), st.integers(0, 511))
def test_i2s_keeps_weight_b_plus_32_k_in_byte_b(seed: int, index: int) -> None:
    codes = random_codes(seed, (4, 128))
    block, k, b = index // 128, index % 128 // 32, index % 32
    field = pack_i2s(codes)[32 * block + b] >> (6 - 2 * k) & 3
    assert int(field) - 1 == codes.reshape(-1)[index]


def test_i2s_field_3_reads_as_0_or_is_an_error() -> None:
    data = np.full(32, 0b11_10_01_00, np.uint8)
    assert np.array_equal(unpack_i2s(data, (4, 32))[:, 0], [0, 1, 0, -1])
    with pytest.raises(ValueError, match="field 3"):
        unpack_i2s(data, (4, 32), strict=True)


@pytest.mark.parametrize(
    "codes", [np.zeros((3, 50), np.int8), np.full((2, 64), 2, np.int8), np.full((2, 64), -2, np.int8)]
)
def test_i2s_refuses_what_it_cannot_hold(codes: np.ndarray) -> None:
    with pytest.raises(ValueError, match="I2_S"):
        pack_i2s(codes)


@given(st.integers(0, 1000), st.integers(1, 9), st.integers(1, 40))
def test_hf_round_trip(seed: int, rows: int, columns: int) -> None:
    codes = random_codes(seed, (rows * 4, columns))
    packed = pack_hf(codes)
    assert packed.dtype == np.uint8 and packed.shape == (rows, columns)
    assert np.array_equal(unpack_hf(packed), codes)
    for row in range(4 * rows):
        field = packed[row % rows] >> (2 * (row // rows)) & 3
        assert np.array_equal(field.astype(np.int8) - 1, codes[row])


def test_hf_refuses_what_it_cannot_hold() -> None:
    for codes in (np.zeros((3, 4), np.int8), np.full((4, 4), 2, np.int8)):
        with pytest.raises(ValueError, match="packed form"):
            pack_hf(codes)
    with pytest.raises(ValueError, match="field 3"):
        unpack_hf(np.full((1, 4), 255, np.uint8))

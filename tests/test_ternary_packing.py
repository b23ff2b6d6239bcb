from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sterna.ternary import (
    pack_hf,
    pack_i2s,
    pack_tq2_0,
    unpack_hf,
    unpack_i2s,
    unpack_tq2_0,
)
from sterna.ternary.i2s import LAYOUTS, i2s_to_x86
from sterna.ternary.tq import TQ1_0


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


@pytest.mark.parametrize("layout", LAYOUTS)
@given(st.integers(0, 1000), st.integers(1, 5), st.integers(1, 9))
def test_i2s_layouts_round_trip_and_become_x86(layout: str, seed: int, rows: int, columns: int) -> None:
    codes = random_codes(seed, (rows * 8, columns * 16))
    packed = pack_i2s(codes, layout)
    assert np.array_equal(unpack_i2s(packed, codes.shape, strict=True, layout=layout), codes)
    assert np.array_equal(i2s_to_x86(packed, codes.shape, layout), pack_i2s(codes))


@given(st.integers(0, 1000), st.integers(0, 1023))
def test_i2s_layouts_of_arm_and_of_rows(seed: int, index: int) -> None:
    codes = random_codes(seed, (8, 128))
    block, k, b = index // 64, index % 64 // 16, index % 16
    assert int(pack_i2s(codes, "arm")[16 * block + b] >> (6 - 2 * k) & 3) - 1 == codes.reshape(-1)[index]
    row, column = divmod(index, 128)
    field = pack_i2s(codes, "x86-rows")[row // 4 * 128 + column] >> (6 - 2 * (row % 4)) & 3
    assert int(field) - 1 == codes[row, column]


def test_i2s_repacks_what_is_larger_than_a_chunk() -> None:
    codes = random_codes(1, (2052, 2688))
    for layout in LAYOUTS:
        assert np.array_equal(i2s_to_x86(pack_i2s(codes, layout), codes.shape, layout), pack_i2s(codes))
    with pytest.raises(ValueError, match="4 rows"):
        pack_i2s(codes[:2], "x86-rows")


@given(st.integers(0, 1000), st.integers(1, 4), st.integers(1, 3))
def test_tq_round_trip(seed: int, rows: int, blocks: int) -> None:
    codes = random_codes(seed, (rows, 256 * blocks))
    scales = np.random.default_rng(seed).standard_normal((rows, blocks)).astype(np.float16).astype(np.float32)
    for pack, unpack, size in ((TQ1_0.pack, TQ1_0.unpack, 54), (pack_tq2_0, unpack_tq2_0, 66)):
        packed = pack(codes, scales)
        assert packed.dtype == np.uint8 and packed.shape == (rows * blocks * size,)
        got, d = unpack(packed, codes.shape)
        assert np.array_equal(got, codes) and np.array_equal(d, scales)


@given(st.integers(0, 1000), st.integers(0, 255))
def test_tq_keeps_each_weight_in_its_byte(seed: int, index: int) -> None:
    codes = random_codes(seed, (1, 256))
    field = int(codes[0, index]) + 1
    half, k, b = index // 128, index % 128 // 32, index % 32
    assert pack_tq2_0(codes, np.ones(1))[32 * half + b] >> (2 * k) & 3 == field
    first, size, byte = next(part for part in ((240, 4, 48), (160, 16, 32), (0, 32, 0)) if index >= part[0])
    number = int(TQ1_0.pack(codes, np.ones(1))[byte + (index - first) % size])
    for _ in range((index - first) // size):
        number = number * 3 % 256
    assert number * 3 // 256 == field


def test_tq_refuses_what_it_cannot_hold() -> None:
    for pack in (TQ1_0.pack, pack_tq2_0):
        for codes in (np.zeros((2, 128), np.int8), np.full((1, 256), 2, np.int8), np.full((1, 256), -2, np.int8)):
            with pytest.raises(ValueError, match="TQ"):
                pack(codes, np.ones(1))
    data = np.full(66, 0b11_10_01_00, np.uint8)
    assert np.array_equal(unpack_tq2_0(data, (1, 256))[0][0, ::32], [-1, 0, 1, 0] * 2)
    with pytest.raises(ValueError, match="field 3"):
        unpack_tq2_0(data, (1, 256), strict=True)


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

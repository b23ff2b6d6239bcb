"""TL1 and TL2: packing against bytes worked out by hand, and against models of the kernels that read them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sterna.ternary.tl import (
    TL1_SETUP_TILES,
    TL1_TILES,
    TL2_TILES,
    TWO_COLUMNS,
    Tiles,
    pack_tl1,
    pack_tl2,
    tl2_padded_bytes,
    tl2_parts,
    unpack_tl1,
    unpack_tl2,
)

SMALL_TL1 = [Tiles(64, 16, 32), Tiles(32, 8, 32), Tiles(64, 8, 64), Tiles(128, 12, 64)]
SMALL_TL2 = [(Tiles(32, 48, 32), 0), (Tiles(32, 48, 32), 32), (Tiles(64, 96, 32), 64), (Tiles(96, 24, 32), 0)]
"""Tiles, and how many columns are packed with two weights to an index."""


def random_codes(seed: int, shape: tuple[int, int]) -> np.ndarray:
    return np.random.default_rng(seed).integers(-1, 2, shape).astype(np.int8)


def pair_table(x: np.ndarray, at: int) -> list[int]:
    """Lookup table of the activations of two columns: the sum for each of nine indices."""
    a, b = map(int, x[at : at + 2])
    return [-a - b, -a, -a + b, -b, 0, b, a - b, a, a + b]


def triple_table(x: np.ndarray, at: int) -> list[int]:
    a, b, c = map(int, x[at : at + 3])
    return [0, c, b - c, b, b + c, a - b - c, a - b, a - b + c, a - c, a, a + c, a + b - c, a + b, a + b + c]


def tl1_kernel(data: np.ndarray, x: np.ndarray, rows: int, tiles: Tiles) -> np.ndarray:
    """The product with `x` as a NEON kernel of TL1 computes it: register after register, in the order of the file."""
    out, at = np.zeros(rows, np.int64), 0
    pairs_a_step = 128 // tiles.lanes
    for row in range(0, rows, tiles.rows):
        for column in range(0, len(x), tiles.columns):
            for some in range(row, row + tiles.rows, tiles.lanes):
                for first in range(column, column + tiles.columns, 2 * pairs_a_step):
                    for register in range(4):
                        # 32 lanes: two registers for each 16 rows. 64 lanes: one.
                        lanes, pair = divmod(register, 2) if tiles.lanes == 32 else (register, 0)
                        high, low = (pair_table(x, first + 4 * pair + 2 * nibble) for nibble in range(2))
                        for lane, byte in enumerate(data[at : at + 16].tolist()):
                            out[some + 16 * lanes + lane] += high[byte >> 4] + low[byte & 15]
                        at += 16
    assert at == data.size
    return out


def tl2_registers(data: np.ndarray, at: int, sums: np.ndarray, tables: list[list[int]], signs: np.ndarray) -> None:
    """Adds to the sums of 32 rows what an AVX2 kernel adds for four registers: eight groups of columns, whose sign bits
    come from 16 words. Interleaving two registers of bytes takes the low halves of both lanes, then the high halves."""
    halves = [*range(8), *range(16, 24)], [*range(8, 16), *range(24, 32)]
    for register in range(4):
        chunk = data[at + 32 * register : at + 32 * register + 32].tolist()
        for nibble in range(2):
            table = tables[2 * register + nibble]
            for half in range(2):
                for word, lane in enumerate(halves[half]):
                    value = table[chunk[lane] >> 4 if nibble == 0 else chunk[lane] & 15]
                    negative = int(signs[word]) << (4 * register + 2 * nibble + half) & 0x8000
                    sums[16 * half + word] += -value if negative else value


def tl2_kernel(data: np.ndarray, x: np.ndarray, rows: int, tiles: Tiles) -> np.ndarray:
    """The product with `x` as an AVX2 kernel of TL2 computes it."""
    out, split = np.zeros(rows, np.int64), len(x) - len(x) % tiles.columns
    indices, sign_bytes, _ = tl2_parts((rows, len(x)), tiles)
    words = data[indices : indices + sign_bytes].view("<u2")
    at = sign = 0
    for row in range(0, rows, tiles.rows):
        for column in range(0, split, tiles.columns):
            for some in range(row, row + tiles.rows, 32):
                for first in range(column, column + tiles.columns, 24):
                    tables = [triple_table(x, first + 3 * group) for group in range(8)]
                    tl2_registers(data, at, out[some : some + 32], tables, words[sign : sign + 16])
                    at, sign = at + 128, sign + 16
    assert at == indices and sign == words.size
    at += sign_bytes
    for row in range(0, rows, tiles.rows):
        for column in range(split, len(x), TWO_COLUMNS):
            for some in range(row, row + tiles.rows, 32):
                for first in range(column, column + TWO_COLUMNS, 16):
                    tables = [pair_table(x, first + 2 * group) for group in range(8)]
                    tl2_registers(data, at, out[some : some + 32], tables, np.zeros(16, np.uint16))
                    at += 128
    assert at == data.size
    return out


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 2), st.integers(1, 3), st.sampled_from(SMALL_TL1))
def test_tl1_round_trips_and_a_kernel_reads_it(seed: int, down: int, across: int, tiles: Tiles) -> None:
    codes = random_codes(seed, (down * tiles.rows, across * tiles.columns))
    packed = pack_tl1(codes, tiles)
    assert packed.dtype == np.uint8 and packed.shape == (codes.size // 4,)
    assert np.array_equal(unpack_tl1(packed, codes.shape, tiles), codes)
    x = np.random.default_rng(seed).integers(-127, 128, codes.shape[1])
    assert np.array_equal(tl1_kernel(packed, x, len(codes), tiles), codes.astype(int) @ x)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 2), st.integers(1, 3), st.sampled_from(SMALL_TL2))
def test_tl2_round_trips_and_a_kernel_reads_it(seed: int, down: int, across: int, cut: tuple[Tiles, int]) -> None:
    tiles, rest = cut
    codes = random_codes(seed, (down * tiles.rows, across * tiles.columns + rest))
    packed = pack_tl2(codes, tiles)
    assert packed.dtype == np.uint8 and packed.shape == (sum(tl2_parts(codes.shape, tiles)),)
    assert np.array_equal(unpack_tl2(packed, codes.shape, tiles), codes)
    x = np.random.default_rng(seed).integers(-127, 128, codes.shape[1])
    assert np.array_equal(tl2_kernel(packed, x, len(codes), tiles), codes.astype(int) @ x)


def test_tl1_bytes_worked_out_by_hand() -> None:
    codes = np.zeros((32, 8), np.int8)
    codes[17, 4:6] = 1, -1  # index 3 - 1 + 4 = 6; the third pair of its row: the high half of a byte, second register
    codes[0, 2:4] = -1, -1  # index 0; the second pair: a low half, first register
    expected = np.full(64, 0x44, np.uint8)
    expected[32 + 16 + 1] = 0x64
    expected[0] = 0x40
    assert np.array_equal(pack_tl1(codes, Tiles(32, 8, 32)), expected)

    codes = np.zeros((64, 8), np.int8)
    codes[50, 6:8] = 0, 1  # index 5; with 64 lanes two pairs a step, so the second step, low half, fourth register
    expected = np.full(128, 0x44, np.uint8)
    expected[64 + 48 + 2] = 0x45
    assert np.array_equal(pack_tl1(codes, Tiles(64, 8, 64)), expected)


def test_tl2_bytes_worked_out_by_hand() -> None:
    codes = np.zeros((32, 80), np.int8)
    # -9 + 1 = -8, the twelfth triple: low half of the sixth row of bytes. Row 9 lies in the third block of 8 bytes.
    codes[9, 33:36] = -1, 0, 1
    # Of the 32 columns with two weights to an index, the eighth pair: index 3 + 1 + 4 = 8, low half of the fourth row.
    codes[30, 62:64] = 1, 1
    expected = np.zeros(256 + 64 + 256, np.uint8)
    expected[5 * 32 + 16 + 1] = 0x08
    # The triple's sign: second group of 16 words, tenth of them, fourth pair of bits from the top, first of the two.
    expected[256 + 32 + 18 : 256 + 32 + 20] = 0x00, 0b00000010
    expected[320:] = 0x44
    expected[320 + 3 * 32 + 24 + 6] = 0x48
    assert np.array_equal(pack_tl2(codes, Tiles(32, 48, 32)), expected)


def test_a_sign_on_zeros_reads_as_zeros() -> None:
    tiles = Tiles(32, 24, 32)
    data = np.zeros(sum(tl2_parts((32, 24), tiles)), np.uint8)
    data[128:] = 0xFF
    assert not unpack_tl2(data, (32, 24), tiles).any()


@pytest.mark.parametrize(
    ("unpack", "shape", "tiles", "data", "words"),
    [
        (unpack_tl1, (32, 8), Tiles(32, 8, 32), bytes([0x44] * 63), "64 bytes, and there are 63"),
        (unpack_tl1, (32, 8), Tiles(32, 8, 32), bytes([0x44] * 63 + [0x94]), "stands for no weights"),
        (unpack_tl1, (32, 12), Tiles(32, 8, 32), bytes(96), "evenly"),
        (unpack_tl2, (32, 80), Tiles(32, 48, 32), bytes(575), "576 bytes, and there are 575"),
        (unpack_tl2, (32, 80), Tiles(32, 48, 32), b"\x0e" + bytes(575), "stands for no weights"),
        (unpack_tl2, (32, 80), Tiles(32, 48, 32), bytes(575) + b"\x0f", "stands for no weights"),
        (unpack_tl2, (32, 49), Tiles(32, 48, 32), bytes(320), "evenly"),
        (unpack_tl2, (33, 48), Tiles(32, 48, 32), bytes(320), "evenly"),
        (unpack_tl2, (64, 48), Tiles(64, 48, 64), bytes(640), "32 lanes"),
    ],
)
def test_what_is_no_matrix_is_refused(
    unpack: Callable[..., np.ndarray], shape: tuple[int, int], tiles: Tiles, data: bytes, words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        unpack(np.frombuffer(data, np.uint8), shape, tiles)


@pytest.mark.parametrize("code", [2, -2, 127, -128])
def test_other_codes_are_refused(code: int) -> None:
    with pytest.raises(ValueError, match="alone"):
        pack_tl1(np.full((32, 8), code, np.int8), Tiles(32, 8, 32))
    with pytest.raises(ValueError, match="alone"):
        pack_tl2(np.full((32, 24), code, np.int8), Tiles(32, 24, 32))


@pytest.mark.parametrize("presets", [TL1_TILES, {"setup_env.py": TL1_SETUP_TILES}, TL2_TILES])
def test_the_tiles_of_presets_cut_their_matrices_evenly(presets: dict[str, dict[tuple[int, ...], Tiles]]) -> None:
    unpack = unpack_tl2 if presets is TL2_TILES else unpack_tl1
    for shape, tiles in (item for preset in presets.values() for item in preset.items()):
        with pytest.raises(ValueError, match="bytes, and there are 0"):
            unpack(np.empty(0, np.uint8), shape, tiles)
        assert unpack is unpack_tl1 or sum(tl2_parts(shape, tiles)) < tl2_padded_bytes(shape)


def test_two_presets_never_cut_one_shape_differently() -> None:
    for presets in (TL1_TILES, TL2_TILES):
        shapes = [shape for preset in presets.values() for shape in preset]
        assert len(shapes) == len(set(shapes)) == 10

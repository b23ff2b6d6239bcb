"""TL1 and TL2, bitnet.cpp's layouts of ternary weights for lookup tables (GGUF tensor types 38, and 39 or 42).

A 4-bit index stands for a group of neighbouring weights of a row: two (TL1, and the last columns of TL2), or three with
a sign bit beside it (TL2). A file has the indices in the order in which a kernel reads them: tiles of `rows` x
`columns` weights, smaller tiles within a tile, lanes of a register. The size of the tiles is fixed for each shape when
bitnet.cpp is built, and a file does not record it: `TL1_TILES` and `TL2_TILES` are the sizes of its presets.

Sources in bitnet.cpp: the converter `utils/convert-hf-to-gguf-bitnet.py`; the kernels
`preset_kernels/*/bitnet-lut-kernels-tl1.h` and `-tl2.h`; for the sizes of tiles
`preset_kernels/*/kernel_config_tl1.ini` and `_tl2.ini`, and `setup_env.py`. docs/tl-files.md has pictures.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np


class Tiles(NamedTuple):
    """How a matrix is cut: into tiles of `rows` x `columns` weights (bitnet.cpp: BM, and BY or BBK), of which a kernel
    takes `lanes` rows at a time (bm: 32 or 64 in TL1, 32 in TL2)."""

    rows: int
    columns: int
    lanes: int


Shape = tuple[int, ...]
Preset = dict[Shape, Tiles]
"""Tiles by the shape (out, in) of a matrix."""

TL1_TILES: dict[str, Preset] = {
    "bitnet_b1_58-large": {
        (1536, 4096): Tiles(256, 128, 32),
        (1536, 1536): Tiles(128, 64, 64),
        (4096, 1536): Tiles(256, 128, 32),
    },
    "bitnet_b1_58-3B": {
        (3200, 8640): Tiles(160, 64, 32),
        (3200, 3200): Tiles(320, 128, 64),
        (8640, 3200): Tiles(320, 64, 32),
    },
    "Llama3-8B-1.58-100B-tokens": {
        (14336, 4096): Tiles(256, 128, 64),
        (4096, 14336): Tiles(256, 128, 32),
        (1024, 4096): Tiles(128, 64, 64),
        (4096, 4096): Tiles(128, 64, 32),
    },
}
"""`kernel_config_tl1.ini` of each preset."""

TL1_SETUP_TILES: Preset = {
    (14336, 4096): Tiles(256, 128, 32),
    (4096, 14336): Tiles(128, 64, 64),
    (1024, 4096): Tiles(256, 128, 32),
    (4096, 4096): Tiles(128, 64, 64),
}
"""The tiles of `setup_env.py` instead of the preset of Llama3-8B-1.58-100B-tokens; the other presets are the same
there."""
TL_TILES = ("preset", "setup")
"""Where tiles come from: `kernel_config_*.ini` of the presets, or `setup_env.py`."""

TL2_TILES: dict[str, Preset] = {
    "bitnet_b1_58-large": {
        (1536, 4096): Tiles(256, 96, 32),
        (1536, 1536): Tiles(128, 192, 32),
        (4096, 1536): Tiles(256, 96, 32),
    },
    "bitnet_b1_58-3B": {
        (3200, 8640): Tiles(160, 96, 32),
        (3200, 3200): Tiles(320, 96, 32),
        (8640, 3200): Tiles(320, 96, 32),
    },
    "Llama3-8B-1.58-100B-tokens": {
        (14336, 4096): Tiles(256, 96, 32),
        (4096, 14336): Tiles(128, 96, 32),
        (1024, 4096): Tiles(256, 96, 32),
        (4096, 4096): Tiles(128, 96, 32),
    },
}
"""`kernel_config_tl2.ini` of each preset. That of bitnet_b1_58-large says 64 lanes for 4096 x 1536, which neither the
converter nor the kernel supports: both, and `setup_env.py`, use 32."""

PRESETS = tuple(TL1_TILES)
TWO_COLUMNS = 32
"""Columns of a tile in the part of TL2 whose indices stand for two weights."""

PAIRS = np.full((16, 2), 2, np.int8)
PAIRS[:9] = np.stack(np.divmod(np.arange(9), 3), axis=-1) - 1
"""The two weights of each index, 3 * first + second + 4; a 2 marks the invalid indices, 9 to 15."""

_NUMBERS = np.arange(-13, 14)
TRIPLES = np.full((32, 3), 2, np.int8)
TRIPLES[np.abs(_NUMBERS) + 16 * (_NUMBERS < 0)] = np.stack(
    [(_NUMBERS + 13) // power % 3 - 1 for power in (9, 3, 1)], -1
)
TRIPLES[16] = 0
"""The three weights of each index + 16 * sign, which are the magnitude and the sign of 9 * first + 3 * second + third.
A 2 marks the invalid indices, 14 and 15; a sign on the index 0 changes nothing."""


def tl1_tiles(shape: Shape, whose: str = "preset") -> Tiles | None:
    """The tiles of a matrix of `shape` in TL1, or None where no preset has it; `whose` is one of `TL_TILES`."""
    setup = TL1_SETUP_TILES.get(shape) if whose == "setup" else None
    return setup or _tiles(TL1_TILES, shape)


def tl2_tiles(shape: Shape) -> Tiles | None:
    """As `tl1_tiles`, for TL2."""
    return _tiles(TL2_TILES, shape)


def _tiles(presets: dict[str, Preset], shape: Shape) -> Tiles | None:
    return next((preset[shape] for preset in presets.values() if shape in preset), None)


def tl1_bytes(shape: Shape) -> int:
    """Bytes of a matrix in TL1."""
    return shape[0] * shape[1] // 4


def tl2_parts(shape: Shape, tiles: Tiles) -> tuple[int, int, int]:
    """Bytes of the three parts of a matrix in TL2: indices of three weights, their signs, indices of two."""
    three = shape[0] * (shape[1] - shape[1] % tiles.columns)
    return three // 6, three // 24, shape[0] * (shape[1] % tiles.columns) // 4


def tl2_padded_bytes(shape: Shape) -> int:
    """Bytes to which bitnet.cpp's converter pads a matrix in TL2 with zeros (its ggml has the same formula).

    The formula assumes that 256 columns have two weights an index, more than in any matrix, and rounds down twice.
    """
    rows, columns = shape
    return (columns - 256) * rows // 3 * 5 // 8 + 64 * rows


def pack_tl1(codes: np.ndarray, tiles: Tiles) -> np.ndarray:
    """Packs int8 codes [out, in] of {-1, 0, 1} into a uint8 vector of out * in / 4 bytes.

    Raises ValueError for another code, or where the tiles do not cut the matrix evenly.
    """
    order = _tl1_order(codes.shape, tiles)
    return order.pack((_groups(codes, 2) + 4).astype(np.uint8))


def unpack_tl1(data: np.ndarray, shape: Shape, tiles: Tiles) -> np.ndarray:
    """Unpacks a uint8 vector into int8 codes of `shape`; the inverse of `pack_tl1`.

    Raises ValueError as `pack_tl1` does, and for data of another size or an index that stands for no weights.
    """
    order = _tl1_order(shape, tiles)
    _check_size(data, tl1_bytes(shape))
    return _weights(PAIRS, order.unpack(data), shape)


def pack_tl2(codes: np.ndarray, tiles: Tiles) -> np.ndarray:
    """As `pack_tl1`, in TL2: the three parts of `tl2_parts`, one after the other, not padded."""
    split = codes.shape[1] - codes.shape[1] % tiles.columns
    three, signs, two = _tl2_orders(codes.shape, tiles)
    numbers = _groups(codes[:, :split], 3)
    return np.concatenate(
        [
            three.pack(np.abs(numbers).astype(np.uint8)),
            signs.pack_bits(numbers < 0),
            two.pack((_groups(codes[:, split:], 2) + 4).astype(np.uint8)),
        ]
    )


def unpack_tl2(data: np.ndarray, shape: Shape, tiles: Tiles) -> np.ndarray:
    """As `unpack_tl1`, for TL2; `data` without padding."""
    rows, split = shape[0], shape[1] - shape[1] % tiles.columns
    three, signs, two = _tl2_orders(shape, tiles)
    parts = tl2_parts(shape, tiles)
    _check_size(data, sum(parts))
    indices, bits, pairs = np.split(data, np.cumsum(parts)[:2])
    codes = np.empty(shape, np.int8)
    numbers = three.unpack(indices) | signs.unpack_bits(bits) << 4
    codes[:, :split] = _weights(TRIPLES, numbers, (rows, split))
    codes[:, split:] = _weights(PAIRS, two.unpack(pairs), (rows, shape[1] - split))
    return codes


@dataclass(frozen=True)
class _Order:
    """The order of the indices of a matrix [out, groups] in a file.

    `axes`: the sizes of the axes into which the matrix is reshaped. `stored`: those axes in the order of the file.
    """

    axes: tuple[int, ...]
    stored: tuple[int, ...]

    def pack(self, indices: np.ndarray) -> np.ndarray:
        """The indices as bytes: two neighbours along the file's last axis share a byte, the first in the high bits."""
        nibbles = indices.reshape(self.axes).transpose(self.stored).reshape(-1, 2)
        packed: np.ndarray = nibbles[:, 0] << 4 | nibbles[:, 1]
        return packed

    def unpack(self, data: np.ndarray) -> np.ndarray:
        """The inverse of `pack`: uint8 in the order of the matrix, flat."""
        return self._back(np.stack([data >> 4, data & 15], axis=-1))

    def pack_bits(self, bits: np.ndarray) -> np.ndarray:
        """The bits as bytes: 16 neighbours share a little-endian word, the first in its highest bit."""
        words = np.packbits(bits.reshape(self.axes).transpose(self.stored)).reshape(-1, 2)
        return words[:, ::-1].reshape(-1)

    def unpack_bits(self, data: np.ndarray) -> np.ndarray:
        """The inverse of `pack_bits`: uint8 0 or 1, flat."""
        return self._back(np.unpackbits(data.reshape(-1, 2)[:, ::-1]))

    def _back(self, values: np.ndarray) -> np.ndarray:
        stored = values.reshape([self.axes[axis] for axis in self.stored])
        return stored.transpose(np.argsort(self.stored)).reshape(-1)


def _tl1_order(shape: Shape, tiles: Tiles) -> _Order:
    rows, columns = _cut(shape, tiles, 256 // tiles.lanes)
    # A byte holds two pairs of one row, a register of 16 bytes holds 16 rows, and the kernel reads 64 bytes a step.
    axes = (rows, tiles.rows // tiles.lanes, tiles.lanes // 16, 16, columns, tiles.columns * tiles.lanes // 256)
    return _Order((*axes, 64 // tiles.lanes, 2), (0, 4, 1, 5, 2, 6, 3, 7))


def _tl2_orders(shape: Shape, tiles: Tiles) -> tuple[_Order, _Order, _Order]:
    if tiles.lanes != 32:
        raise ValueError(f"TL2 has 32 lanes, not {tiles.lanes}")
    rest = shape[1] % tiles.columns
    rows, columns = _cut((shape[0], shape[1] - rest), tiles, 24)
    _, more = _cut((shape[0], rest), Tiles(tiles.rows, TWO_COLUMNS, 32), 4)
    blocks = tiles.rows // 32
    # Among 32 rows of a byte each, the second and the third 8 are swapped, because AVX2 interleaves within half
    # registers.
    lanes = (rows, blocks, 2, 2, 8)
    stored = (0, 5, 1, 6, 3, 2, 4, 7)
    three = _Order((*lanes, columns, tiles.columns // 6, 2), stored)
    # A word interleaves the signs of eight groups of a row with those of the row that is 16 further.
    signs = _Order((rows, blocks, 2, 16, columns, tiles.columns // 24, 8), (0, 4, 1, 5, 3, 6, 2))
    return three, signs, _Order((*lanes, more, TWO_COLUMNS // 4, 2), stored)


def _cut(shape: Shape, tiles: Tiles, step: int) -> tuple[int, int]:
    """How many tiles a matrix has along its rows and along its columns; a kernel takes `step` columns at a time."""
    rows, columns = shape
    if rows % tiles.rows or columns % tiles.columns or tiles.rows % tiles.lanes or tiles.columns % step:
        raise ValueError(f"tiles of {tiles.rows} x {tiles.columns} do not cut the shape {[rows, columns]} evenly")
    return rows // tiles.rows, columns // tiles.columns


def _groups(codes: np.ndarray, size: int) -> np.ndarray:
    """Groups of neighbouring codes as numbers in base 3, the first digit the highest: int8."""
    if codes.size and not -1 <= codes.min() <= codes.max() <= 1:
        raise ValueError("TL1 and TL2 hold the codes -1, 0 and 1 alone")
    digits = np.asarray(codes, np.int8).reshape(-1, size)
    return digits @ np.array([9, 3, 1][-size:], np.int8)


def _check_size(data: np.ndarray, size: int) -> None:
    if data.size != size:
        raise ValueError(f"it takes {size} bytes, and there are {data.size}")


def _weights(table: np.ndarray, indices: np.ndarray, shape: Shape) -> np.ndarray:
    """The codes that indices stand for."""
    codes = table[indices].reshape(shape)
    if codes.size and codes.max() > 1:
        raise ValueError("it holds an index that stands for no weights")
    return codes

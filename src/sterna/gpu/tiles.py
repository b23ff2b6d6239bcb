"""How large a part of a product one program computes."""

from __future__ import annotations

from typing import NamedTuple

from sterna.gpu.device import interpreted
from sterna.gpu.layouts import Layout


class Tile(NamedTuple):
    """`rows` of the matrix and `tokens`, so much of the columns at a time as `depth` says: in `ternary_kernel` so many
    blocks, in `ternary_row_kernel` words, in `float_kernel` columns."""

    rows: int
    tokens: int
    warps: int
    depth: int


# With these no kernel spills registers (`tests/gpu/test_compile.py`); none has been timed.
TILES = {
    "ternary row": Tile(8, 1, 4, 64),
    "few": Tile(32, 16, 4, 4),
    "some": Tile(64, 32, 4, 2),
    "many": Tile(64, 64, 8, 1),
    "groups": Tile(64, 32, 8, 1),
    "float row": Tile(8, 1, 4, 256),
    "floats": Tile(32, 16, 4, 32),
}


def tile_of(layout: Layout, tokens: int, planes: int) -> Tile:
    """The tile for a matrix and so many tokens, in `planes` planes of whole numbers (0: floats). Tensor cores compute
    16 tokens at least. The interpreter's time goes by programs, whatever they compute."""
    if planes == 0:
        name = "float row" if tokens == 1 else "floats"
    elif is_plain(layout, planes):
        name = "ternary row" if tokens == 1 else "few" if tokens <= 16 else "some" if tokens <= 32 else "many"
    else:
        name = "few" if tokens <= 16 else "groups"
    tile = TILES[name]
    return tile._replace(rows=256) if interpreted() else tile


def is_plain(layout: Layout, planes: int) -> bool:
    """Whether a row is one integer sum: ternary codes with one scale, times int8."""
    return layout.kind == "ternary" and layout.group == 0 and planes == 1

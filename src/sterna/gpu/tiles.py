"""How large a part of a product one program computes."""

from __future__ import annotations

from typing import NamedTuple

from sterna.gpu.device import interpreted


class Tile(NamedTuple):
    """`rows` of the matrix and `tokens`, `depth` columns (for whole words: words) at a time where the kernel does not
    follow the matrix's own blocks."""

    rows: int
    tokens: int
    warps: int
    depth: int = 0


TILES = {
    "ternary row": Tile(8, 1, 4, 64),
    "few": Tile(32, 16, 4),
    "some": Tile(64, 32, 4),
    "many": Tile(64, 64, 8),
    "float row": Tile(8, 1, 4, 256),
    "floats": Tile(32, 16, 4, 32),
}


def tile_of(kind: str, tokens: int, is_row: bool) -> Tile:
    """The tile for a kind of matrix (`layouts.Layout`) and so many tokens; `is_row`: for `ternary_row_kernel`. Tensor
    cores compute 16 tokens at least. The interpreter's time goes by programs, whatever they compute."""
    if kind in ("f16", "f32"):
        name = "float row" if tokens == 1 else "floats"
    elif is_row:
        name = "ternary row"
    else:
        name = "few" if tokens <= 16 else "some" if tokens <= 32 else "many"
    tile = TILES[name]
    return tile._replace(rows=256) if interpreted() else tile

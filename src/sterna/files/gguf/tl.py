"""TL1 and TL2 in GGUF files: which tensors are of these types, how many bytes they take, and where their scale lies.

The type numbers are ambiguous (39 is MXFP4 elsewhere, 42 is Q2_0), so the number of bytes up to the next tensor
decides. bitnet.cpp's writer (its llama.cpp fork, `gguf-py/gguf/gguf_writer.py`) leaves the scale tensor out of the
header: its float32 lies behind the codes, padded like a tensor. Forks have it in the header, as NAME_scale, and leave
no room for it behind the codes.
"""

from __future__ import annotations

from math import prod
from typing import NamedTuple

from sterna.tensor.encodings import Encoding
from sterna.ternary.tl import PRESETS, tl1_bytes, tl1_tiles, tl2_padded_bytes, tl2_parts, tl2_tiles

TL_TYPES = {38: Encoding.TL1, 39: Encoding.TL2, 42: Encoding.TL2}
OTHERS = {39: ("MXFP4 of llama.cpp", 32, 17), 42: ("Q2_0 of llama.cpp", 64, 18)}
"""The other type that a number may mean: its name, weights in a block, and bytes of a block."""


class Place(NamedTuple):
    """A tensor in TL1 or TL2: its encoding, how many bytes its codes take, and at which byte its scale begins, if that
    follows the codes."""

    encoding: Encoding
    data_bytes: int
    scale_at: int | None


def find_tiled(number: int, shape: tuple[int, ...], room: int, alignment: int) -> Place | str:
    """What a tensor of the type `number`, one of `TL_TYPES`, is if the next tensor begins `room` bytes after it: a
    place, or the name of a type that Sterna does not read.

    Raises ValueError where `room` fits none of the types that have the number.
    """
    encoding = TL_TYPES[number]
    sizes = _sizes(encoding, shape)
    for size in sizes:
        end = -(-size // alignment) * alignment
        if room == end:
            return Place(encoding, sizes[0], None)
        if room == end + alignment:
            return Place(encoding, sizes[0], end)
    other, block, block_bytes = OTHERS.get(number, ("", 1, 0))
    if other and shape[-1] % block == 0 and room >= prod(shape) // block * block_bytes:
        return f"{other} (by its size; bitnet.cpp's TL2 has the same number, {number})"
    if not sizes:
        return (
            f"{encoding.name} of bitnet.cpp in the shape {list(shape)} (its presets, {', '.join(PRESETS)}, have others)"
        )
    raise ValueError(f"it has {room} bytes, and {encoding.name} takes {' or '.join(map(str, sizes))} and a scale")


def _sizes(encoding: Encoding, shape: tuple[int, ...]) -> list[int]:
    """Possible bytes of a matrix without its scale: its codes alone, then (TL2) with bitnet.cpp's padding. Empty where
    no preset has its shape."""
    if encoding is Encoding.TL1:
        return [tl1_bytes(shape)] if tl1_tiles(shape) else []
    tiles = tl2_tiles(shape)
    return [sum(tl2_parts(shape, tiles)), tl2_padded_bytes(shape)] if tiles else []

"""Tensors in GGUF files whose type number has several meanings. The number of bytes up to the next tensor decides.

- 38, 39 and 42 are TL1 and TL2 of bitnet.cpp; 39 is MXFP4 elsewhere. bitnet.cpp's writer (its llama.cpp fork,
  `gguf-py/gguf/gguf_writer.py`) leaves the scale tensor out of the header: its float32 lies behind the codes, padded
  like a tensor. Forks have it in the header, as NAME_scale, and leave no room for it behind the codes.
- 42 is Q2_0 of llama.cpp, in blocks of 64; in files of PrismML's fork from 2026-04 to 08 it has blocks of 128, which
  are those of PQ2_0; and it is Tencent's STQ1_0, which has the number 43 in later files.
- 40 is NVFP4 of llama.cpp; in files of PrismML's fork of 2026-03 it is Q1_0 in blocks of 32.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import NamedTuple

from sterna.tensor.encodings import Encoding
from sterna.ternary.tl import PRESETS, tl1_bytes, tl1_tiles, tl2_padded_bytes, tl2_parts, tl2_tiles

TL_TYPES = {38: Encoding.TL1, 39: Encoding.TL2, 42: Encoding.TL2}
BLOCKS = {40: (Encoding.Q1_0_G32,), 42: (Encoding.Q2_0, Encoding.PQ2_0, Encoding.STQ1_0), 43: (Encoding.STQ1_0,)}
"""The block formats that a type number may mean."""
OTHERS = {39: ("MXFP4 of llama.cpp", 32, 17), 40: ("NVFP4 of llama.cpp", 64, 36)}
"""Types that Sterna does not read, by the number that they share: the name, weights in a block, bytes of a block."""
AMBIGUOUS = TL_TYPES.keys() | BLOCKS.keys()
"""The numbers that have several meanings."""


class Place(NamedTuple):
    """A tensor's encoding, how many bytes its codes take, and at which byte its scale begins, if one follows the
    codes."""

    encoding: Encoding
    data_bytes: int
    scale_at: int | None


def find_by_size(number: int, shape: tuple[int, ...], room: int, alignment: int) -> list[Place] | str:
    """What a tensor of the type `number`, one of `AMBIGUOUS`, can be if the next tensor begins `room` bytes after it:
    one place or several, or the name of a type that Sterna does not read.

    Raises ValueError where `room` fits none of the types that have the number.
    """
    tiles = TL_TYPES.get(number)
    sizes = _tl_sizes(tiles, shape) if tiles else []
    places = []
    for size in sizes:
        end = -(-size // alignment) * alignment
        if tiles and room == end:
            places.append(Place(tiles, sizes[0], None))
        elif tiles and room == end + alignment:
            places.append(Place(tiles, sizes[0], end))
    for blocks in BLOCKS.get(number, ()):
        size = prod(shape) // blocks.block * blocks.block_bytes
        if shape[-1] % blocks.block == 0 and room == -(-size // alignment) * alignment:
            places.append(Place(blocks, size, None))
    if places:
        return places
    other, block, block_bytes = OTHERS.get(number, ("", 1, 0))
    if other and shape[-1] % block == 0 and room >= prod(shape) // block * block_bytes:
        known = "bitnet.cpp's TL2" if tiles else f"{BLOCKS[number][0].name} of PrismML's fork"
        return f"{other} (by its size; {known} has the same number, {number})"
    names = [*([tiles.name] if tiles else []), *(blocks.name for blocks in BLOCKS.get(number, ()))]
    if tiles and not sizes and len(names) == 1:
        return f"{tiles.name} of bitnet.cpp in the shape {list(shape)} (its presets, {', '.join(PRESETS)}, have others)"
    raise ValueError(f"in the shape {list(shape)} its {room} bytes are none of {', '.join(names)}")


def settle(found: Sequence[list[Place]]) -> list[Place]:
    """One place for each tensor of a file. Padding can hide the size of a small tensor, so that several places are
    possible: then the one with the encoding of another tensor, whose size is clear, is taken."""
    certain = {places[0].encoding for places in found if len(places) == 1}
    return [next((place for place in places if place.encoding in certain), places[0]) for places in found]


def _tl_sizes(encoding: Encoding, shape: tuple[int, ...]) -> list[int]:
    """Possible bytes of a matrix without its scale: its codes alone, then (TL2) with bitnet.cpp's padding. Empty where
    no preset has its shape."""
    if encoding is Encoding.TL1:
        return [tl1_bytes(shape)] if tl1_tiles(shape) else []
    tiles = tl2_tiles(shape)
    return [sum(tl2_parts(shape, tiles)), tl2_padded_bytes(shape)] if tiles else []

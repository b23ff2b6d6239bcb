"""GGUF files with TL1 and TL2, byte by byte, as bitnet.cpp and its forks write them."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from sterna.tensor.encodings import Encoding
from sterna.tensor.tensor import Tensor
from sterna.ternary import unpack_i2s
from sterna.ternary.tl import pack_tl1, pack_tl2, tl1_tiles, tl2_padded_bytes, tl2_tiles

ALIGNMENT = 32


class Raw(NamedTuple):
    """A tensor's entry in the header, and its data, which `write_raw` pads with zeros."""

    name: str
    shape: tuple[int, ...]
    type: int
    data: bytes


def write_raw(path: Path, metadata: Mapping[str, Any], tensors: Sequence[Raw]) -> Path:
    """Writes a GGUF file: metadata of strings, whole numbers and floats, and tensors one after the other."""
    header = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(metadata))
    for key, value in metadata.items():
        header += string(key) + (
            struct.pack("<I", 8) + string(value)
            if isinstance(value, str)
            else struct.pack("<If", 6, value)
            if isinstance(value, float)
            else struct.pack("<II", 4, value)
        )
    body = b""
    for tensor in tensors:
        dims = tensor.shape[::-1]
        header += string(tensor.name) + struct.pack(f"<I{len(dims)}QIQ", len(dims), *dims, tensor.type, len(body))
        body += padded(tensor.data)
    path.write_bytes(padded(header) + body)
    return path


def string(text: str) -> bytes:
    return struct.pack("<Q", len(text.encode())) + text.encode()


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % ALIGNMENT)


def tl_data(number: int, codes: np.ndarray, pad: bool = True) -> bytes:
    """The codes of a matrix in TL1 (38) or TL2; `pad`: padded as by bitnet.cpp's converter."""
    shape = codes.shape
    if number == 38:
        tiles = tl1_tiles(shape)
        assert tiles is not None
        return pack_tl1(codes, tiles).tobytes()
    tiles = tl2_tiles(shape)
    assert tiles is not None
    data = pack_tl2(codes, tiles).tobytes()
    return data.ljust(tl2_padded_bytes(shape), b"\0") if pad else data


def tl_tensors(tensor: Tensor, number: int, in_table: bool = False) -> list[Raw]:
    """A ternary matrix in TL1 or TL2 with its scale: after padded codes (bitnet.cpp), or as a tensor without
    dimensions, after codes that are not padded (forks)."""
    data, scale = tl_data(number, unpack_i2s(tensor.data, tensor.shape), not in_table), struct.pack("<f", tensor.scale)
    if in_table:
        return [Raw(tensor.name, tensor.shape, number, data), Raw(f"{tensor.name}_scale", (), 0, scale)]
    return [Raw(tensor.name, tensor.shape, number, padded(data) + scale)]


def in_tl(tensors: Mapping[str, Tensor], number: int, in_table: bool = False) -> list[Raw]:
    """All tensors of a model, those in I2_S converted by `tl_tensors`."""
    raw: list[Raw] = []
    for tensor in tensors.values():
        if tensor.encoding is Encoding.I2_S:
            raw += tl_tensors(tensor, number, in_table)
        else:
            type = {Encoding.F32: 0, Encoding.F16: 1}[tensor.encoding]
            raw.append(Raw(tensor.name, tensor.shape, type, tensor.data.tobytes()))
    return raw

"""GGUF writer (version 3, ggml `docs/gguf.md`)."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from math import isfinite
from typing import Any, BinaryIO

import numpy as np

from sterna.errors import ArgumentError
from sterna.files.atomic import atomic_write
from sterna.files.gguf.types import (
    ARRAY,
    DEFAULT_ALIGNMENT,
    I2_S_TAIL,
    MAGIC,
    SCALAR_TYPES,
    STRING,
)
from sterna.tensor.encodings import Encoding
from sterna.tensor.pages import release
from sterna.tensor.tensor import AnyTensor, Tensor, TensorStream

MAX_TENSOR_NAME_BYTES = 63
"""ggml keeps tensor names in 64 bytes, the last of them 0."""
CHUNK_BYTES = 1 << 24
"""Bytes between two reports of progress."""


def write_gguf(path: str | os.PathLike[str], metadata: Mapping[str, Any], tensors: Iterable[AnyTensor]) -> None:
    """Writes a GGUF file atomically; see `write_gguf_to`."""
    with atomic_write(path) as file:
        write_gguf_to(file, metadata, tensors)


def write_gguf_to(
    file: BinaryIO,
    metadata: Mapping[str, Any],
    tensors: Iterable[AnyTensor],
    written: Callable[[int], None] = lambda size: None,
) -> None:
    """Writes a GGUF file into an open one and makes each tensor only when it is written. `written` is called with the
    number of bytes of each chunk.

    Python ints become u32 (i32 if negative, 64 bits if large), floats f32, lists of ints int32 (int64 if large), lists
    of floats float32; strings, lists of strings and booleans stay; numpy scalars and arrays keep their type.
    Raises ArgumentError for a value without a GGUF type and for a tensor that contradicts itself.
    """
    tensors = list(tensors)
    sizes = _check(tensors)
    header = [MAGIC, struct.pack("<IQQ", 3, len(tensors), len(metadata))]
    header += [_string(key) + _value(key, value) for key, value in metadata.items()]
    alignment = int(metadata.get("general.alignment", DEFAULT_ALIGNMENT))
    if alignment < 8 or alignment & (alignment - 1):
        raise ArgumentError(f"general.alignment must be a power of two from 8 on, not {alignment}.")
    offset = 0
    for tensor, size in zip(tensors, sizes, strict=True):
        shape = struct.pack(f"<I{len(tensor.shape)}Q", len(tensor.shape), *tensor.shape[::-1])
        header.append(_string(tensor.name) + shape + struct.pack("<IQ", tensor.encoding.gguf_type, offset))
        offset += _padded(size, alignment)
    start = b"".join(header)

    file.write(start.ljust(_padded(len(start), alignment), b"\0"))
    for tensor, size in zip(tensors, sizes, strict=True):
        done = 0
        for part in tensor.parts():
            for chunk in _stored(part):
                done += file.write(chunk)
                written(len(chunk))
        if done != size:
            raise ArgumentError(f"The tensor {tensor.name!r} needs {size} bytes of data and has {done}.")
        file.write(bytes(_padded(size, alignment) - size))


def stored_bytes(tensor: AnyTensor) -> int:
    """How many bytes a tensor takes in a GGUF file, without padding; ValueError where it does not fit its encoding."""
    tail = I2_S_TAIL if tensor.encoding is Encoding.I2_S else 0
    return tensor.encoding.data_bytes(tensor.shape) + tail


def _stored(part: Tensor) -> Iterator[memoryview]:
    """The bytes of a part as the file keeps them, in chunks; the pages of a mapped chunk are given back after it is
    written."""
    data = np.ascontiguousarray(part.data)
    for at in range(0, data.size, CHUNK_BYTES):
        yield data[at : at + CHUNK_BYTES].data
        release(data[at : at + CHUNK_BYTES])
    if part.encoding is Encoding.I2_S:
        yield memoryview(struct.pack("<f", part.scale).ljust(I2_S_TAIL, b"\0"))


def _check(tensors: Sequence[AnyTensor]) -> list[int]:
    """The stored bytes of each tensor. Raises ArgumentError for tensors that a GGUF file cannot hold."""
    if len({tensor.name for tensor in tensors}) != len(tensors):
        raise ArgumentError("A GGUF file cannot hold two tensors of the same name.")
    sizes = []
    for tensor in tensors:
        if len(tensor.name.encode()) > MAX_TENSOR_NAME_BYTES:
            raise ArgumentError(f"The tensor name {tensor.name!r} is longer than {MAX_TENSOR_NAME_BYTES} bytes.")
        if not 1 <= len(tensor.shape) <= 4 or min(tensor.shape) < 1:
            raise ArgumentError(
                f"The tensor {tensor.name!r} has the shape {list(tensor.shape)}, which GGUF cannot hold."
            )
        try:
            if tensor.encoding.gguf_type is None:
                raise ValueError(f"{tensor.encoding.name} is read, but never written")
            size = tensor.encoding.data_bytes(tensor.shape)
            sizes.append(stored_bytes(tensor))
        except ValueError as error:
            raise ArgumentError(f"The tensor {tensor.name!r} does not fit its encoding: {error}.") from error
        if isinstance(tensor, TensorStream):
            continue
        if tensor.data.dtype != np.uint8 or tensor.data.size != size:
            raise ArgumentError(f"The tensor {tensor.name!r} needs {size} bytes of data.")
        if not isfinite(tensor.scale) or (tensor.scale != 1 and tensor.encoding is not Encoding.I2_S):
            raise ArgumentError(f"The tensor {tensor.name!r} cannot have the scale {tensor.scale}.")
    return sizes


def _padded(size: int, alignment: int) -> int:
    return -(-size // alignment) * alignment


def _string(text: str) -> bytes:
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def _value(key: str, value: Any) -> bytes:
    """The type number and the bytes of a metadata value."""
    if isinstance(value, str):
        return struct.pack("<I", STRING) + _string(value)
    if _is_list(value) and all(isinstance(item, str) for item in value):
        return struct.pack("<IIQ", ARRAY, STRING, len(value)) + b"".join(map(_string, value))
    try:
        numbers = np.asarray(value, _narrow(value))
    except ValueError as error:
        raise ArgumentError(f"The metadata value of {key!r} is a list of unlike things.") from error
    type = SCALAR_TYPES.get(numbers.dtype.newbyteorder("<"))
    if type is None or numbers.ndim > 1:
        raise ArgumentError(f"The metadata value of {key!r} has no GGUF type.")
    data = numbers.astype(numbers.dtype.newbyteorder("<")).tobytes()
    if numbers.ndim == 0:
        return struct.pack("<I", type) + data
    return struct.pack("<IIQ", ARRAY, type, numbers.size) + data


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, bytes)


def _narrow(value: Any) -> np.dtype | None:
    """The dtype for Python numbers; None leaves the choice to numpy, as for its own scalars and arrays."""
    if isinstance(value, np.ndarray | np.generic) or isinstance(value, bool):
        return None
    numbers = value if _is_list(value) else [value]
    if all(isinstance(number, bool) for number in numbers):
        return None
    if any(isinstance(number, float) for number in numbers):
        return np.dtype("<f4")
    if not all(isinstance(number, int) for number in numbers):
        return None
    candidates = ["<i4", "<i8"] if _is_list(value) else ["<u4", "<i4", "<u8", "<i8"]
    for candidate in map(np.dtype, candidates):
        limits = np.iinfo(candidate)
        if all(limits.min <= number <= limits.max for number in numbers):
            return candidate
    return None

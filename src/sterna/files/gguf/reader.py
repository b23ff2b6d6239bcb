"""GGUF reader (versions 2 and 3, ggml `docs/gguf.md`): every count, offset, size and type is bounded before use."""

from __future__ import annotations

import mmap
import os
import struct
from bisect import bisect_right
from dataclasses import dataclass
from math import isfinite, prod
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from sterna.errors import FormatError, NotFoundError, UnsupportedError
from sterna.files.gguf.by_size import AMBIGUOUS, Place, find_by_size, settle
from sterna.files.gguf.names import SPLIT_NAME, split_name
from sterna.files.gguf.strings import Strings
from sterna.files.gguf.types import (
    ARRAY,
    DEFAULT_ALIGNMENT,
    ENCODINGS,
    I2_S_TAIL,
    MAGIC,
    OTHER_TYPES,
    SCALARS,
    STRING,
)
from sterna.files.mapped import map_file
from sterna.files.regular import open_regular
from sterna.tensor.encodings import Encoding
from sterna.tensor.tensor import Tensor

MAX_KEYS = 1 << 16
MAX_TENSORS = 1 << 17
MAX_NAME_BYTES = 1 << 10
MAX_STRINGS = 1 << 21
MAX_HEADER_BYTES = 1 << 26
"""Strings and bytes: twice and four times what the largest vocabularies in use need. Both bound the memory that a
header can take."""
MAX_ALIGNMENT = 1 << 20
MAX_WEIGHTS = 1 << 44
MAX_PARTS = 1 << 10


@dataclass(frozen=True)
class GGUFFile:
    """A mapped GGUF file.

    `metadata`: int, float, bool, str, `Strings` for arrays of strings, numpy arrays for arrays of numbers.
    `tensors`: those whose encoding Sterna knows, in file order; `unsupported`: type names of the others.
    """

    path: Path
    metadata: dict[str, Any]
    tensors: dict[str, Tensor]
    unsupported: dict[str, str]


def read_gguf(path: str | os.PathLike[str]) -> GGUFFile:
    """Maps the GGUF file at `path`, with all parts of a split model, and describes its content; weights are not copied.

    Raises NotFoundError where there is no readable file, FormatError for a file that breaks the format, and
    UnsupportedError for a version, byte order or metadata type that Sterna does not read.
    """
    file = _read_file(Path(path))
    count = file.metadata.get("split.count", 0)
    if not isinstance(count, int) or not 0 <= count <= MAX_PARTS:
        raise FormatError(f"{path} is no valid GGUF file: its split.count is no number of parts.")
    return file if count <= 1 else _joined(Path(path), count)


def begins_as_gguf(path: Path) -> bool:
    """Whether a file begins as GGUF files do, whatever it is called; raises as `open_regular`."""
    with open_regular(path) as file:
        return file.read(len(MAGIC)) == MAGIC


def _joined(path: Path, count: int) -> GGUFFile:
    """All parts of a split model, whichever of them `path` is; the first has the metadata."""
    matched = SPLIT_NAME.fullmatch(path.name)
    if matched is None or int(matched["count"]) != count:
        raise FormatError(f"{path} is a part of {count} files, but is not called NAME-00001-of-{count:05}.gguf.")
    parts = []
    for number in range(count):
        place = path.parent / split_name(matched["name"], number, count)
        if not place.is_file():
            raise NotFoundError(f"{place}, part {number + 1} of {count} of this model, is missing.")
        part = _read_file(place)
        if part.metadata.get("split.no") != number or part.metadata.get("split.count") != count:
            raise FormatError(f"{place} says of itself that it is another part than its name does.")
        parts.append(part)
    tensors: dict[str, Tensor] = {}
    unsupported: dict[str, str] = {}
    for part in parts:
        twice = next((name for name in part.tensors | part.unsupported if name in tensors | unsupported), None)
        if twice is not None:
            raise FormatError(f"{part.path} has a tensor {twice!r}, as an earlier part of the model has.")
        tensors |= part.tensors
        unsupported |= part.unsupported
    total = parts[0].metadata.get("split.tensors.count", len(tensors) + len(unsupported))
    if total != len(tensors) + len(unsupported):
        raise FormatError(f"{path} is split into parts with {total} tensors in all, and they hold another number.")
    return GGUFFile(path, parts[0].metadata, tensors, unsupported)


def _read_file(path: Path) -> GGUFFile:
    """One file, without the other parts of a split model."""
    try:
        with open_regular(path) as file:
            if os.fstat(file.fileno()).st_size < 24:
                raise FormatError(f"{path} is too short to be a GGUF file.")
            buffer = map_file(file)
    except OSError as error:
        raise NotFoundError(f"{path} cannot be read: {error.strerror}.") from error
    try:
        return _parse(path, buffer)
    except _Broken as broken:
        raise FormatError(f"{path} is no valid GGUF file: {broken}.") from broken
    except _Foreign as foreign:
        raise UnsupportedError(f"{path} cannot be used: {foreign}.") from foreign


class _Broken(Exception):
    """The file breaks the format; the text is the reason."""


class _Foreign(Exception):
    """The file is of a kind that is not read here; the text is the reason."""


class _Entry(NamedTuple):
    name: str
    shape: tuple[int, ...]
    type: int
    offset: int


def _parse(path: Path, buffer: mmap.mmap) -> GGUFFile:
    cursor = _Cursor(buffer)
    if cursor.take("4s") != MAGIC:
        raise _Broken("it does not begin with the letters GGUF")
    version = cursor.take("I")
    if version in (0x02000000, 0x03000000):
        raise _Foreign("its numbers are big-endian")
    if version not in (2, 3):
        raise _Foreign(f"it has GGUF version {version}, and Sterna reads 2 and 3")
    tensor_count = cursor.count("tensors", MAX_TENSORS, 24)
    key_count = cursor.count("metadata keys", MAX_KEYS, 13)

    metadata: dict[str, Any] = {}
    for _ in range(key_count):
        key = cursor.name()
        if key in metadata:
            raise _Broken(f"the metadata key {key!r} occurs twice")
        metadata[key] = cursor.value(cursor.take("I"), key)

    entries = [_entry(cursor) for _ in range(tensor_count)]
    if len({entry.name for entry in entries}) != tensor_count:
        raise _Broken("two of its tensors have the same name")
    alignment = metadata.get("general.alignment", DEFAULT_ALIGNMENT)
    if not isinstance(alignment, int) or not 8 <= alignment <= MAX_ALIGNMENT or alignment & (alignment - 1):
        raise _Broken("its alignment is not a power of two from 8 on")
    start = -(-cursor.position // alignment) * alignment
    data = np.frombuffer(buffer, np.uint8)[start:]

    sized = _by_size(entries, alignment, len(data))
    spans = sorted(_span(entry, sized.get(entry.name), alignment, len(data)) for entry in entries)
    for (_, end, first), (begin, _, second) in zip(spans, spans[1:], strict=False):
        if begin < end:
            raise _Broken(f"the tensors {first!r} and {second!r} overlap")
    tensors: dict[str, Tensor] = {}
    unsupported: dict[str, str] = {}
    names = {entry.name for entry in entries}
    for entry in entries:
        found = sized.get(entry.name)
        if isinstance(found, Place):
            tensors[entry.name] = _placed(entry, found, data, f"{entry.name}_scale" in names)
        elif found is None and entry.type in ENCODINGS:
            tensors[entry.name] = _tensor(entry, data)
        else:
            unsupported[entry.name] = found or OTHER_TYPES.get(entry.type, f"number {entry.type}")
    return GGUFFile(path, metadata, tensors, unsupported)


def _entry(cursor: _Cursor) -> _Entry:
    name = cursor.name()
    dimensions = cursor.take("I")
    if dimensions > 4:
        raise _Broken(f"the tensor {name!r} has {dimensions} dimensions")
    shape = tuple(cursor.take("Q") for _ in range(dimensions))[::-1] or (1,)  # a scalar, as in ggml
    if not all(1 <= size <= MAX_WEIGHTS for size in shape) or prod(shape) > MAX_WEIGHTS:
        raise _Broken(f"the tensor {name!r} has an impossible shape")
    return _Entry(name, shape, cursor.take("I"), cursor.take("Q"))


def _by_size(entries: list[_Entry], alignment: int, available: int) -> dict[str, Place | str]:
    """What the tensors whose type number has several meanings are (`find_by_size`), by the bytes from each to the next
    tensor."""
    starts = sorted({entry.offset for entry in entries})
    possible: dict[str, list[Place]] = {}
    unsupported: dict[str, str] = {}
    for entry in entries:
        if entry.type in AMBIGUOUS:
            after = bisect_right(starts, entry.offset)
            room = (starts[after] if after < len(starts) else -(-available // alignment) * alignment) - entry.offset
            try:
                found = find_by_size(entry.type, entry.shape, room, alignment)
            except ValueError as error:
                raise _Broken(
                    f"the tensor {entry.name!r} does not fit its type: {error} (a broken download?)"
                ) from error
            if isinstance(found, str):
                unsupported[entry.name] = found
            else:
                possible[entry.name] = found
    return unsupported | dict(zip(possible, settle(list(possible.values())), strict=True))


def _span(entry: _Entry, sized: Place | str | None, alignment: int, available: int) -> tuple[int, int, str]:
    """First byte of a tensor, the byte after its last, and its name; raises _Broken where it is not inside the file."""
    size = 1
    if isinstance(sized, Place):
        size = sized.data_bytes if sized.scale_at is None else sized.scale_at + 4
    elif sized is None and entry.type in ENCODINGS:
        encoding = ENCODINGS[entry.type]
        try:
            size = encoding.data_bytes(entry.shape)
        except ValueError as error:
            raise _Broken(f"the tensor {entry.name!r} does not fit its type: {error}") from error
        if encoding is Encoding.I2_S:
            size += I2_S_TAIL
    if entry.offset % alignment:
        raise _Broken(f"the tensor {entry.name!r} does not lie on a multiple of {alignment} bytes")
    if entry.offset + size > available:
        raise _Broken(f"the tensor {entry.name!r} reaches past the end of the file (a broken download?)")
    return entry.offset, entry.offset + size, entry.name


def _tensor(entry: _Entry, data: np.ndarray) -> Tensor:
    encoding = ENCODINGS[entry.type]
    end = entry.offset + encoding.data_bytes(entry.shape)
    scale = _scale(entry.name, data, end) if encoding is Encoding.I2_S else 1.0
    return Tensor(entry.name, entry.shape, encoding, data[entry.offset : end], scale)


def _placed(entry: _Entry, place: Place, data: np.ndarray, has_scale_tensor: bool) -> Tensor:
    """A tensor that was found by its size. In TL1 and TL2, a scale tensor NAME_scale takes precedence over a scale
    behind the codes."""
    scale = 1.0
    if place.encoding.is_tiled and not has_scale_tensor:
        if place.scale_at is None:
            raise _Broken(f"the tensor {entry.name!r} has no scale, neither behind it nor as {entry.name + '_scale'!r}")
        scale = _scale(entry.name, data, entry.offset + place.scale_at)
    return Tensor(entry.name, entry.shape, place.encoding, data[entry.offset : entry.offset + place.data_bytes], scale)


def _scale(name: str, data: np.ndarray, at: int) -> float:
    """The float32 that multiplies the codes of a tensor."""
    scale = float(data[at : at + 4].view("<f4")[0])
    if not isfinite(scale):
        raise _Broken(f"the scale of the tensor {name!r} is {scale}")
    return scale


class _Cursor:
    """A position in the header that never moves past its end."""

    def __init__(self, buffer: mmap.mmap) -> None:
        self.buffer = buffer
        self.end = min(len(buffer), MAX_HEADER_BYTES)
        self.position = 0
        self.strings_left = MAX_STRINGS

    def advance(self, size: int) -> int:
        """Moves over `size` bytes and returns where they begin."""
        start = self.position
        if size > self.end - start:
            raise _Broken("its header ends early")
        self.position = start + size
        return start

    def take(self, format: str) -> Any:
        """One little-endian value of a struct format."""
        layout = struct.Struct("<" + format)
        return layout.unpack_from(self.buffer, self.advance(layout.size))[0]

    def count(self, what: str, most: int, item_bytes: int) -> int:
        """The number of items that follow, of at least `item_bytes` each."""
        count: int = self.take("Q")
        if count > most or count * item_bytes > self.end - self.position:
            raise _Broken(f"it claims {count} {what}")
        return count

    def name(self) -> str:
        """A short string that must be UTF-8."""
        size = self.take("Q")
        if size > MAX_NAME_BYTES:
            raise _Broken(f"a name in it claims {size} bytes")
        start = self.advance(size)
        try:
            return self.buffer[start : self.position].decode()
        except UnicodeDecodeError as error:
            raise _Broken("a name in it is not UTF-8") from error

    def value(self, type: int, key: str) -> Any:
        """A metadata value."""
        if type == STRING:
            return self.strings(1)[0]
        if type == ARRAY:
            return self.array(key)
        if type not in SCALARS:
            raise _Foreign(f"the metadata key {key!r} has the unknown type {type}")
        return self.numbers(SCALARS[type], 1)[0].item()

    def array(self, key: str) -> Strings | np.ndarray:
        """A metadata array of strings or numbers. Arrays of arrays are refused: nobody writes them, and ggml refuses
        them too."""
        type = self.take("I")
        if type == STRING:
            return self.strings(self.count(f"strings in {key!r}", MAX_STRINGS, 8))
        if type not in SCALARS:
            raise _Foreign(f"the metadata array {key!r} has the type {type}, which Sterna does not read")
        dtype = SCALARS[type]
        return self.numbers(dtype, self.count(f"numbers in {key!r}", self.end, dtype.itemsize))

    def numbers(self, dtype: np.dtype, count: int) -> np.ndarray:
        """A read-only vector over the file; a boolean is true where its byte is not 0."""
        start = self.advance(count * dtype.itemsize)
        if dtype.kind == "b":
            return np.frombuffer(self.buffer, np.uint8, count, start) != 0
        return np.frombuffer(self.buffer, dtype, count, start)

    def strings(self, count: int) -> Strings:
        """`count` strings that follow each other."""
        self.strings_left -= count
        if self.strings_left < 0:
            raise _Broken(f"it has more than {MAX_STRINGS} strings")
        try:
            strings = Strings(np.frombuffer(self.buffer, np.uint8, self.end), self.position, count)
        except ValueError as error:
            raise _Broken(str(error)) from None
        self.position = strings.end
        return strings

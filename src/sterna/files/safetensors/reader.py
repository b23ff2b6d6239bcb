"""Safetensors (huggingface/safetensors, "Format"): mapped, with every size and offset bounded before use."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from itertools import pairwise
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from sterna.errors import FormatError, NotFoundError
from sterna.files.hf_files import INDEX, WHOLE, weight_files
from sterna.files.mapped import map_file
from sterna.files.regular import open_regular
from sterna.tensor.encodings import Encoding
from sterna.tensor.tensor import Tensor

MAX_JSON_BYTES = 1 << 22
"""Most bytes of a header, an index or a config: about ten times what the largest models need, and few enough to read at
once."""
ITEM_BYTES = {
    "BOOL": 1,
    "U8": 1,
    "I8": 1,
    "F8_E5M2": 1,
    "F8_E4M3": 1,
    "I16": 2,
    "U16": 2,
    "F16": 2,
    "BF16": 2,
    "I32": 4,
    "U32": 4,
    "F32": 4,
    "I64": 8,
    "U64": 8,
    "F64": 8,
}
FLOATS = {"F32": Encoding.F32, "F16": Encoding.F16, "BF16": Encoding.BF16}
"""The float types that Sterna computes with, by the names of the format."""


@dataclass(frozen=True)
class StoredTensor:
    """A tensor of a safetensors file: `dtype` as the format names it, `data` its bytes as a read-only uint8 vector."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    data: np.ndarray

    def floats(self, name: str | None = None) -> Tensor:
        """The tensor, whose dtype must be one of `FLOATS`, under its own name or another."""
        return Tensor(self.name if name is None else name, self.shape, FLOATS[self.dtype], self.data)


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file of bounded size; the last of repeated keys counts (published configs repeat some).

    Raises NotFoundError where the file cannot be read, FormatError where it holds no JSON object.
    """
    try:
        with open_regular(path) as file:
            text = file.read(MAX_JSON_BYTES + 1)
    except OSError as error:
        raise NotFoundError(f"{path} cannot be read: {error.strerror}.") from error
    if len(text) > MAX_JSON_BYTES:
        raise FormatError(f"{path} is too large for a JSON file.")
    return _json_object(text, path)


def read_folder(folder: Path, may_lack: Callable[[str], bool] = lambda name: False) -> dict[str, StoredTensor]:
    """All tensors of a folder, of whichever files `weight_files` finds; empty where it finds none.

    The files decide which tensors there are. Their index may name the wrong file for a tensor or leave a tensor out,
    and may promise a tensor that no file holds if `may_lack` says that the model can do without it. If several files
    hold a tensor, that of the last one is taken.
    Raises NotFoundError where a file is missing, FormatError where one is broken or lies elsewhere.
    """
    index = folder / INDEX
    read_index = cache(lambda: read_json(index))
    files = weight_files(lambda name: (folder / name).is_file(), read_index, index)
    missing = next((file for file in files if not (folder / file).exists()), None)
    if missing is not None:
        raise NotFoundError(
            f"{folder / missing} is missing, one of {len(files)} files that {INDEX} names (a broken download?)."
        )
    tensors: dict[str, StoredTensor] = {}
    for file in files:
        tensors |= read_safetensors(folder / file)
    promised = () if files in ([], [WHOLE]) else read_index()["weight_map"]
    lacking = next((name for name in promised if name not in tensors and not may_lack(name)), None)
    if lacking is not None:
        raise FormatError(f"{index} promises a tensor {lacking!r}, which none of the files that it names holds.")
    return tensors


def read_safetensors(path: Path) -> dict[str, StoredTensor]:
    """Maps one safetensors file and describes its tensors; raises NotFoundError and FormatError as `read_folder`.

    safetensors' `save_model` stores a shared tensor once; the metadata map its other names to the stored one. The
    result has the tensor under all of them.
    """
    header, data = _open(path)
    aliases = _texts(path, header.pop("__metadata__", {}))
    tensors = {name: _tensor(path, name, entry, data) for name, entry in header.items()}
    spans = sorted((entry["data_offsets"], name) for name, entry in header.items())
    for ((_, end), first), ((begin, _), second) in zip(spans, spans[1:], strict=False):
        if begin < end:
            raise FormatError(f"{path} is broken: its tensors {first!r} and {second!r} overlap.")
    shared = {name: kept for name, kept in aliases.items() if kept in tensors and name not in tensors}
    return tensors | {name: replace(tensors[kept], name=name) for name, kept in shared.items()}


def read_metadata(path: Path) -> dict[str, str]:
    """The texts that a safetensors file carries beside its tensors; raises as `read_safetensors`."""
    return _texts(path, _open(path)[0].get("__metadata__", {}))


def _texts(path: Path, metadata: Any) -> dict[str, str]:
    """The `__metadata__` of a header, checked; None counts as none."""
    metadata = {} if metadata is None else metadata
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise FormatError(f"{path} is broken: its metadata are no texts.")
    return metadata


def _open(path: Path) -> tuple[dict[str, Any], np.ndarray]:
    """The header of a mapped file, and the bytes behind it."""
    try:
        with open_regular(path) as file:
            size = os.fstat(file.fileno()).st_size
            if size < 10:
                raise FormatError(f"{path} is too short to be a safetensors file.")
            buffer = map_file(file)
    except OSError as error:
        raise NotFoundError(f"{path} cannot be read: {error.strerror}.") from error
    header_bytes = int.from_bytes(buffer[:8], "little")
    if header_bytes > min(MAX_JSON_BYTES, size - 8):
        raise FormatError(
            f"{path} is no safetensors file (a broken download?): its header claims {header_bytes} bytes."
        )
    header = _json_object(buffer[8 : 8 + header_bytes], path, unique=True)
    return header, np.frombuffer(buffer, np.uint8)[8 + header_bytes :]


def _tensor(path: Path, name: str, entry: Any, data: np.ndarray) -> StoredTensor:
    try:
        dtype, shape, (begin, end) = entry["dtype"], entry["shape"], entry["data_offsets"]
        integers = all(type(number) is int and number >= 0 for number in (*shape, begin, end))
    except (TypeError, ValueError, KeyError) as error:
        raise FormatError(f"{path} is broken: the entry of its tensor {name!r} is incomplete.") from error
    if not isinstance(dtype, str) or dtype not in ITEM_BYTES:
        raise FormatError(f"{path} is broken: its tensor {name!r} has an unknown type.")
    if integers and end > len(data):
        raise FormatError(f"{path} ends before its tensor {name!r} does (a broken download?).")
    if not integers or len(shape) > 8 or prod(shape) * ITEM_BYTES[dtype] != end - begin:
        raise FormatError(f"{path} is broken: the shape and place of its tensor {name!r} contradict each other.")
    return StoredTensor(name, dtype, tuple(shape), data[begin:end])


def _json_object(text: bytes, path: Path, unique: bool = False) -> dict[str, Any]:
    """The object in a JSON text; `unique` refuses keys that are repeated."""
    try:
        value = json.loads(text, object_pairs_hook=_unique if unique else None)
    except _RepeatedKey as error:
        raise FormatError(f"{path} is broken: it names {error.args[0]!r} twice.") from error
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{path} holds no readable JSON.") from error
    if not isinstance(value, dict):
        raise FormatError(f"{path} holds no JSON object.")
    return value


class _RepeatedKey(Exception):
    """A key that an object has twice."""


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        keys = sorted(key for key, _ in pairs)
        raise _RepeatedKey(next(key for key, following in pairwise(keys) if key == following))
    return value

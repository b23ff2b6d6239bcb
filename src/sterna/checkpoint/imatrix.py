"""Importance matrices, in the form of llama.cpp: for each matrix the mean square of each of its inputs over a text.

They are GGUF files (`general.type` imatrix): NAME.in_sum2 `[matrices, columns]` has sums of squares, NAME.counts
`[matrices, 1]` how many rows were added. Older ones are bare numbers (`.dat`): an int32 count of entries, and for each
its name (int32 length, bytes), an int32 number of calls, an int32 number of values and as many float32 sums.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from sterna.errors import FormatError, UnsupportedError
from sterna.files.gguf.reader import begins_as_gguf, read_gguf
from sterna.files.gguf.writer import write_gguf
from sterna.files.regular import open_regular
from sterna.tensor.decode import decode
from sterna.tensor.encode import encode
from sterna.tensor.encodings import Encoding

SUMS, COUNTS, MEANS = ".in_sum2", ".counts", ".in_sum"
MAX_ENTRIES, MAX_NAME, MAX_VALUES = 1 << 17, 1 << 10, 1 << 28


@dataclass(frozen=True)
class Sums:
    """Sums of squares of a matrix's inputs, float32 [columns], over `rows` of them."""

    squares: np.ndarray
    rows: int


def read_imatrix(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """The mean square of each input, float32 [columns], by the GGUF name of its matrix.

    Matrices of which nothing was seen are left out. Raises NotFoundError, FormatError for a file that breaks the format
    or is of another kind, and UnsupportedError for one of a model with experts.
    """
    path = Path(path)
    means = _read_gguf(path) if begins_as_gguf(path) else _read_dat(path)
    for name, values in means.items():
        if not np.isfinite(values).all() or (values < 0).any():
            raise FormatError(f"{path} has importances of {name!r} that are no squares.")
    return means


def write_imatrix(
    path: str | os.PathLike[str], sums: Mapping[str, Sums], datasets: list[str], chunks: int, chunk_size: int
) -> None:
    """Writes an importance matrix as GGUF. `datasets`: names of the calibration texts, of which `chunks` times
    `chunk_size` tokens were used. Replaces `path`."""
    tensors = []
    for name in sorted(sums):
        tensors += [
            encode(f"{name}{SUMS}", sums[name].squares[None], Encoding.F32),
            encode(f"{name}{COUNTS}", np.array([[sums[name].rows]]), Encoding.F32),
        ]
    keys = {"datasets": datasets, "chunk_count": chunks, "chunk_size": chunk_size}
    write_gguf(path, {"general.type": "imatrix"} | {f"imatrix.{key}": value for key, value in keys.items()}, tensors)


def _read_gguf(path: Path) -> dict[str, np.ndarray]:
    file = read_gguf(path)
    kind = file.metadata.get("general.type")
    if not isinstance(kind, str) or kind != "imatrix":
        raise FormatError(f"{path} is no importance matrix: its general.type is not 'imatrix'.")
    strange = next((name for name in file.tensors if not name.endswith((SUMS, COUNTS, MEANS))), None)
    if strange is not None or file.unsupported:
        raise FormatError(
            f"{path} has a tensor {strange or [*file.unsupported][0]!r}, and importance matrices have none."
        )
    means = {}
    for key, tensor in file.tensors.items():
        if not key.endswith(SUMS):
            continue
        name = key.removesuffix(SUMS)
        if f"{name}{COUNTS}" not in file.tensors:
            raise FormatError(f"{path} says nothing of how many inputs of {name!r} were summed.")
        sums, counts = decode(tensor), decode(file.tensors[f"{name}{COUNTS}"])
        if sums.size != sums.shape[-1] or counts.size != 1:
            raise UnsupportedError(f"{path} is of a model with experts ({name!r}), which Sterna does not run.")
        count = float(counts.reshape(-1)[0])
        if count > 0:
            means[name] = sums.reshape(-1) / np.float32(count)
    return means


def _read_dat(path: Path) -> dict[str, np.ndarray]:
    """A file of older form. What follows its entries (the last call and the name of the text) is not read."""
    with open_regular(path) as file:
        means = {}
        for _ in range(_number(path, file, MAX_ENTRIES)):
            name = _taken(path, file, _number(path, file, MAX_NAME)).decode(errors="replace")
            calls = _number(path, file, (1 << 31) - 1)
            values = np.frombuffer(_taken(path, file, 4 * _number(path, file, MAX_VALUES)), "<f4")
            if calls > 0 and values.size:
                means[name] = values / np.float32(calls)
    return means


def _number(path: Path, file: BinaryIO, most: int) -> int:
    (number,) = struct.unpack("<i", _taken(path, file, 4))
    if not 0 <= number <= most:
        raise FormatError(f"{path} is no importance matrix: it has {number} where a count belongs.")
    return int(number)


def _taken(path: Path, file: BinaryIO, size: int) -> bytes:
    if size > os.fstat(file.fileno()).st_size - file.tell():
        raise FormatError(f"{path} is no importance matrix, or ends before its last entry.")
    return file.read(size)

"""The files of a state (`sterna.checkpoint.state_files`): each process writes, checks and reads what it has of them.

torch.distributed.checkpoint is not used: its own format keeps the places of shards in a pickle, which must not be read
from outside, and its safetensors format has no digest, takes the offsets of files as they are, and does not notice
where the file of a process is missing.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from sterna.checkpoint.state_files import shard_digests
from sterna.errors import FormatError
from sterna.files.atomic import atomic_write
from sterna.files.safetensors.writer import header
from sterna.train.distributed import process_count, process_rank

DIGEST = "sha256"
"""The metadata key of the digest of everything else in a file."""
DTYPES = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"}
"""The tensors of a state, as safetensors calls their types."""


def write_file(
    path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str], ready: Callable[[], None] = lambda: None
) -> str:
    """Writes a file of a state atomically; returns the SHA-256 of its tensors and metadata, which is in it.

    The file is read back before it gets its name; then `ready` is called. Raises OSError, also where what was read back
    is not what was written.
    """
    digest = _digest(metadata, tensors.items())
    with atomic_write(path) as file:
        written = hashlib.sha256()
        for part in _parts(tensors, {**metadata, DIGEST: digest}):
            file.write(part)
            written.update(part)
        file.flush()
        os.fsync(file.fileno())
        file.seek(0)
        if _file_digest(file) != written.digest():
            raise OSError(f"{path} could not be read back as it was written; the disk may be failing.")
        ready()
    return digest


def _parts(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> Iterator[bytes | memoryview]:
    """The parts of a safetensors file, of which no copy is made: the library's own writers make two of all tensors."""
    ordered = sorted(tensors.items(), key=lambda entry: (-entry[1].itemsize, entry[0]))
    yield header([(name, DTYPES[tensor.dtype], tensor.shape) for name, tensor in ordered], metadata)
    for _, tensor in ordered:
        yield _bytes_of(tensor)


def _bytes_of(tensor: Tensor) -> memoryview:
    data: memoryview = tensor.reshape(-1).view(torch.uint8).numpy().data
    return data


def _digest(metadata: Mapping[str, str], tensors: Iterable[tuple[str, Tensor]]) -> str:
    """The SHA-256 of metadata and of tensors in the order of their names, in hexadecimal digits."""
    own = {key: value for key, value in metadata.items() if key not in (DIGEST, "format")}
    digest = hashlib.sha256(json.dumps(own, sort_keys=True).encode())
    for name, tensor in sorted(tensors, key=lambda entry: entry[0]):
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        digest.update(_bytes_of(tensor))
    return digest.hexdigest()


def _file_digest(file: BinaryIO) -> bytes:
    """The SHA-256 of what is left of a file."""
    digest = hashlib.sha256()
    while part := file.read(1 << 20):
        digest.update(part)
    return digest.digest()


def check_files(path: Path) -> None:
    """Raises FormatError where the files of the state at `path` are not those that were written. Of several processes
    each checks its share of them. A state of a development version, which has no digest, passes."""
    with reading(path), safe_open(str(path), framework="pt") as file:
        metadata = file.metadata() or {}
    files = list({path: metadata.get(DIGEST), **shard_digests(path, metadata)}.items())
    for own, expected in files[process_rank() :: process_count()]:
        with reading(own), safe_open(str(own), framework="pt") as file:
            tensors = ((name, file.get_tensor(name)) for name in sorted(file.keys()))
            if expected is not None and _digest(file.metadata() or {}, tensors) != expected:
                raise FormatError(f"{own} is damaged: its SHA-256 is not the one that it was written with.")


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turns what reading a file that is no state raises into FormatError."""
    try:
        yield
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, RuntimeError, RecursionError) as error:
        raise FormatError(f"{path} is no training state: {error}.") from error


class StateReader:
    """The tensors of an opened state, of which each process reads the rows that it needs."""

    def __init__(self, files: list[Any]) -> None:
        """`files`: opened by `safe_open`, in the order of the processes that wrote them."""
        self.files = files
        self.names: list[str] = list(files[0].keys())
        self._holders = {name: [file for file in files if name in file.keys()] for name in self.names}

    def shape(self, name: str) -> torch.Size:
        """The shape of the whole tensor."""
        first, *others = (file.get_slice(name).get_shape() for file in self._holders[name])
        return torch.Size([first[0] + sum(shape[0] for shape in others), *first[1:]] if others else first)

    def whole(self, name: str) -> Tensor:
        """The whole tensor."""
        parts = [file.get_tensor(name) for file in self._holders[name]]
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def rows(self, name: str, start: int, stop: int) -> Tensor:
        """The entries `start` to `stop` of the tensor's first dimension; reads no others."""
        parts, first = [], 0
        for file in self._holders[name]:
            held = file.get_slice(name)
            last = first + held.get_shape()[0]
            low, high = max(start, first), min(stop, last)
            if low < high:
                parts.append(held[low - first : high - first])
            first = last
        return torch.cat(parts) if parts else self._holders[name][0].get_slice(name)[:0]


@contextmanager
def opened(path: Path) -> Iterator[StateReader]:
    """Opens the files of the state at `path`. Raises FormatError where one is missing or no safetensors file."""
    with ExitStack() as stack:
        with reading(path):
            first = stack.enter_context(safe_open(str(path), framework="pt"))
            others = shard_digests(path, first.metadata() or {})
            files = [first, *(stack.enter_context(safe_open(str(other), framework="pt")) for other in others)]
        yield StateReader(files)

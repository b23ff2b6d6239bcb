"""Writes safetensors (huggingface/safetensors, "Format") in shards with an index, while their tensors are made."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TypeVar

import numpy as np

from sterna.errors import ArgumentError
from sterna.files.hf_files import INDEX, WHOLE
from sterna.files.huge_page_writer import HugePageWriter
from sterna.files.safetensors.reader import ITEM_BYTES

T = TypeVar("T")

SHARD_BYTES = 5_000_000_000
"""Bytes that transformers' `save_pretrained` puts into one file."""


@dataclass(frozen=True)
class OutTensor:
    """A tensor to be written: `dtype` as the format names it; `make` gives its bytes as uint8 vectors, in order."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    make: Callable[[], Iterable[np.ndarray]]

    @property
    def nbytes(self) -> int:
        """Bytes of the whole tensor."""
        return prod(self.shape) * ITEM_BYTES[self.dtype]


def write_safetensors(
    folder: Path,
    tensors: Sequence[OutTensor],
    written: Callable[[int], None] = lambda size: None,
    shard_bytes: int = SHARD_BYTES,
) -> None:
    """Writes `model.safetensors`, or shards and `model.safetensors.index.json`, into `folder`.

    `written` is called with the number of bytes of each chunk. Raises ArgumentError for a tensor that does not give the
    bytes that its shape needs.
    """
    shards = in_shards(tensors, [tensor.nbytes for tensor in tensors], shard_bytes)
    weight_map: dict[str, str] = {}
    for number, shard in enumerate(shards, 1):
        name = WHOLE if len(shards) == 1 else f"model-{number:05}-of-{len(shards):05}.safetensors"
        weight_map |= {tensor.name: name for tensor in shard}
        write_file(folder / name, shard, written)
    if len(shards) > 1:
        index = {"metadata": {"total_size": sum(tensor.nbytes for tensor in tensors)}, "weight_map": weight_map}
        (folder / INDEX).write_text(json.dumps(index, indent=2) + "\n")


def in_shards(tensors: Sequence[T], sizes: Sequence[int], most: int) -> list[list[T]]:
    """Tensors in order, in groups of at most `most` bytes (a larger one is alone in its group)."""
    shards: list[list[T]] = [[]]
    filled = 0
    for tensor, size in zip(tensors, sizes, strict=True):
        if shards[-1] and filled + size > most:
            shards.append([])
            filled = 0
        shards[-1].append(tensor)
        filled += size
    return shards


def write_file(path: Path, tensors: Sequence[OutTensor], written: Callable[[int], None] = lambda size: None) -> None:
    """Writes one file; `written` and errors as `write_safetensors`."""
    with HugePageWriter(path) as file:
        file.write(header([(tensor.name, tensor.dtype, tensor.shape) for tensor in tensors], {"format": "pt"}))
        for tensor in tensors:
            done = 0
            for chunk in tensor.make():
                done += file.write(np.ascontiguousarray(chunk).data)
                written(chunk.nbytes)
            if done != tensor.nbytes:
                raise ArgumentError(f"The tensor {tensor.name!r} needs {tensor.nbytes} bytes and has {done}.")


def header(tensors: Iterable[tuple[str, str, Sequence[int]]], metadata: Mapping[str, str]) -> bytes:
    """The beginning of a file: a JSON text that describes the tensors (name, dtype as the format names it, shape), and
    before it the text's length. The bytes of the tensors follow in this order, from a multiple of 8 on."""
    entries: dict[str, object] = {"__metadata__": dict(metadata)}
    end = 0
    for name, dtype, shape in tensors:
        begin, end = end, end + prod(shape) * ITEM_BYTES[dtype]
        entries[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}
    text = json.dumps(entries).encode()
    text = text.ljust(-(-len(text) // 8) * 8)
    return len(text).to_bytes(8, "little") + text

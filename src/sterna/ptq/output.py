"""The formats of `--format`, and the model that a finished run is put together to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from sterna.checkpoint import Checkpoint, open_checkpoint
from sterna.checkpoint.convert import check_paths, check_space, gguf_file, hf_folder, target_tensors
from sterna.checkpoint.gguf.groups import blocks
from sterna.checkpoint.hf.quantized.writer import Writer
from sterna.checkpoint.hf.writers import WRITERS
from sterna.errors import ArgumentError, OptionError, UnsupportedError
from sterna.files.atomic import publish, staging
from sterna.files.hub.cache import resolve_model
from sterna.files.safetensors.reader import StoredTensor
from sterna.files.safetensors.writer import OutTensor
from sterna.model.architecture import MATRICES
from sterna.ptq.method import Method
from sterna.ptq.record import Record
from sterna.ptq.settings import Settings
from sterna.tensor.encode import encode
from sterna.tensor.encodings import Encoding
from sterna.tensor.recode import Changes, recode
from sterna.tensor.tensor import AnyTensor, Tensor
from sterna.ternary.group_scaled import Q1_0

GGUF = "gguf"


def _gguf_parts(matrix: Any) -> dict[str, np.ndarray]:
    """The blocks of a matrix as one part, whose ending is the name of their type."""
    tensor = blocks("", matrix)
    return {tensor.encoding.name: tensor.data.reshape(tensor.shape[0], -1)}


FORMATS = {**WRITERS, GGUF: Writer(GGUF, (1, 4, 8), _gguf_parts, lambda layout: {}, group_sizes=(32, 64, 128))}
"""By the names that `--format` takes."""


def format_of(method: Method, name: str | None, dst: Path, settings: Settings) -> Writer:
    """The format of a target: the one asked for, GGUF for a name that ends so, else the method's first.

    Raises OptionError where it cannot hold what the method makes, ArgumentError where it does not fit the name.
    """
    is_file = dst.suffix.lower() == ".gguf"
    known = [each for each in method.formats if each in FORMATS]
    chosen = name or (GGUF if is_file else next(each for each in known if settings.bits in FORMATS[each].bits))
    if chosen not in known:
        raise OptionError("format", f"is {' or '.join(known)} for --method {method.name}, not {chosen}.")
    if is_file != (chosen == GGUF):
        raise ArgumentError(f"{dst} is no name for the format {chosen}: only GGUF files end in .gguf.")
    writer = FORMATS[chosen]
    if settings.bits not in writer.bits:
        raise OptionError("format", f"{chosen} has no {settings.bits} bits.")
    if writer.group_sizes is not None and settings.group_size not in writer.group_sizes:
        sizes = ", ".join(map(str, writer.group_sizes))
        raise OptionError("group_size", f"is one of {sizes} in the format {chosen}, not {settings.group_size}.")
    if settings.act_order and not writer.takes_index:
        raise OptionError("act_order", f"cannot be kept in the format {chosen}: take gptq.")
    if chosen == GGUF and settings.bits == 1 and settings.group_size != Q1_0.block:
        raise OptionError("group_size", f"is {Q1_0.block} for signs in GGUF, not {settings.group_size}.")
    if chosen == GGUF and settings.bits == 8 and not settings.symmetric:
        raise UnsupportedError("GGUF's type of 8 bits has no zero points: add --symmetric, or take another format.")
    return writer


def check_target(src: str, dst: Path, force: bool) -> None:
    """Raises, before any work is done, where the result could not be put at `dst`."""
    check_paths(resolve_model(src), dst, dst.suffix.lower() != ".gguf", force)


def write_model(
    source: Checkpoint, record: Record, writer: Writer, settings: Settings, facts: Mapping[str, Any], dst: Path
) -> None:
    """Puts the layers of a finished run and the model's other tensors, these in float16, together at `dst`, and opens
    the result before it gets its name. `facts` say how it was made."""
    layers = [record.parts(index) for index in range(source.config.num_layers)]
    kept = dict(_other_tensors(source, layers))
    size = sum(part.data.nbytes for layer in layers for part in layer.values())
    check_space(dst, size + sum(tensor.encoding.data_bytes(tensor.shape) for tensor in kept.values()))
    with staging(dst) as stage:
        path = stage / dst.name
        if writer.name == GGUF:
            _gguf(path, source, layers, kept, facts)
        else:
            _folder(path, source, layers, kept, writer.keys(settings.layout) | {"sterna": dict(facts)})
        open_checkpoint(path)
        publish(path, dst)


def matrix_parts(layer: Mapping[str, StoredTensor]) -> Iterator[tuple[str, str, StoredTensor]]:
    """The matrices of a finished layer: name, ending and tensor of each part."""
    for key, stored in layer.items():
        name, ending = key.split(".", 1)
        if name in MATRICES:
            yield name, ending, stored


def _other_tensors(source: Checkpoint, layers: list[dict[str, StoredTensor]]) -> Iterator[tuple[str, AnyTensor]]:
    """What is no matrix of a layer: embedding, head, and norms, those of layers as the run left them."""
    for name, tensor in source.tensors.items():
        if not name.startswith("blk."):
            yield name, recode(tensor, Encoding.F16, Changes(), False)
    for index, layer in enumerate(layers):
        for key, stored in layer.items():
            if key.split(".", 1)[0] not in MATRICES:
                name = f"blk.{index}.{key}"
                yield name, encode(name, stored.data.view(np.float32), Encoding.F16)


def _folder(
    path: Path,
    source: Checkpoint,
    layers: list[dict[str, StoredTensor]],
    kept: Mapping[str, AnyTensor],
    keys: Mapping[str, Any],
) -> None:
    """Writes a folder, with `keys` in its `config.json`."""
    names = hf_folder.hf_names(source.config)
    quantized = [
        _out(f"{names[f'blk.{index}.{name}.weight'].removesuffix('.weight')}.{ending}", stored)
        for index, layer in enumerate(layers)
        for name, ending, stored in matrix_parts(layer)
    ]
    raw = hf_folder.config_json(source, list(kept.values())) | dict(keys)
    path.mkdir()
    hf_folder.write_folder(path, source, list(kept.values()), raw, lambda size: None, quantized=quantized)


def _out(name: str, stored: StoredTensor) -> OutTensor:
    return OutTensor(name, stored.dtype, stored.shape, lambda: (stored.data,))


def _gguf(
    path: Path,
    source: Checkpoint,
    layers: list[dict[str, StoredTensor]],
    kept: Mapping[str, AnyTensor],
    facts: Mapping[str, Any],
) -> None:
    """Writes a GGUF file, with `facts` as its keys `sterna.*`."""
    tensors = dict(kept)
    tensors |= {
        name: recode(each, Encoding.F32, Changes(), False) for name, each in kept.items() if len(each.shape) == 1
    }
    for index, layer in enumerate(layers):
        for name, ending, stored in matrix_parts(layer):
            full = f"blk.{index}.{name}.weight"
            tensors[full] = Tensor(full, source.tensors[full].shape, Encoding[ending], stored.data)
    made = replace(source, tensors=tensors)
    out = list(target_tensors(made, gguf_file.rope_style(made), folder=False).values())
    metadata: dict[str, Any] = gguf_file.metadata_of(made, out, None)
    metadata |= {f"sterna.{key}": str(value) for key, value in facts.items()}
    gguf_file.write_files(path.parent, {path.name: out}, metadata, lambda size: None)

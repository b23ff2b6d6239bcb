"""Converts adapters between folders of PEFT and GGUF files, and merges them into models."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from sterna.checkpoint import Checkpoint, open_checkpoint
from sterna.checkpoint.adapters import in_model, read_adapter
from sterna.checkpoint.adapters.adapter import HEAD, Adapter, LowRank
from sterna.checkpoint.adapters.gguf import write_adapter_gguf
from sterna.checkpoint.adapters.peft import CONFIG, WEIGHTS, write_peft
from sterna.errors import ArgumentError, NotFoundError, UnsupportedError
from sterna.files.atomic import publish, staging
from sterna.files.gguf.names import is_gguf
from sterna.files.local import as_path
from sterna.model.architectures import architecture_of
from sterna.tensor.decode import decode
from sterna.tensor.encode import encode
from sterna.tensor.encodings import Encoding
from sterna.tensor.recode import codes_of
from sterna.tensor.tensor import AnyTensor, Tensor, TensorStream, whole

MERGED = (Encoding.F32, Encoding.F16, Encoding.BF16, Encoding.Q8_0)
"""Types of matrices with merged adapters."""


def convert_adapter(
    src: str | os.PathLike[str], dst: str | os.PathLike[str], base: str | os.PathLike[str], force: bool = False
) -> Path:
    """Converts the adapter `src` of the model `base` to `dst`: a GGUF file if its name ends in `.gguf`, else a folder
    of PEFT. All numbers are float32.

    `general.architecture` of the file is that of `base`, or that of the file to which `convert` makes it. Raises as
    `read_adapter` and `open_checkpoint`, ArgumentError where `dst` cannot be used.
    """
    checkpoint, dst = open_checkpoint(base), Path(dst)
    adapter = read_adapter(src, checkpoint.config)
    _check_target(dst, as_path(src), force)
    return write_adapter(replace(adapter, base=adapter.base or os.fspath(base)), checkpoint, dst)


def write_adapter(adapter: Adapter, base: Checkpoint, dst: Path) -> Path:
    """Writes an adapter of the model `base` as `convert_adapter` does, and replaces `dst`."""
    config = base.config
    with staging(dst) as stage:
        staged = stage / dst.name
        if is_gguf(dst.name):
            given = base.metadata.get("general.architecture") if base.kind == "gguf" else None
            write_adapter_gguf(staged, adapter, config, given or architecture_of(config).gguf_name(config), dst.stem)
        else:
            staged.mkdir()
            write_peft(staged, adapter, config)
        publish(staged, dst)
    return dst


def _check_target(dst: Path, src: Path, force: bool) -> None:
    if not dst.parent.is_dir():
        raise NotFoundError(f"The folder {dst.parent} is not there.")
    if not dst.exists():
        return
    if dst.resolve() in (src.resolve(), *src.resolve().parents):
        raise ArgumentError(f"{dst} is what is to be converted; choose another name.")
    if not force:
        raise ArgumentError(f"{dst} is there already; --force replaces it.")
    foreign = [path.name for path in dst.iterdir() if path.name not in (CONFIG, WEIGHTS)] if dst.is_dir() else []
    if foreign or dst.is_dir() == is_gguf(dst.name):
        raise ArgumentError(f"{dst} is no adapter of the wanted form; it is not replaced.")


def merged(
    source: Checkpoint, adapters: Mapping[str, float], matrices: Encoding | None, head: Encoding | None
) -> Checkpoint:
    """A model with adapters (scales by path) added to its matrices, in float32, to be written in these types.

    Raises UnsupportedError for types that would lose the adapters: in a ternary matrix, and in one of few bits, most of
    an update vanishes when it is rounded (docs/adapters.md). Raises as `read_adapter`.
    """
    updates: dict[str, list[LowRank]] = {}
    for path, scale in adapters.items():
        adapter = in_model(read_adapter(path, source.config), source.config, source.tensors)
        for name, low in adapter.updates.items():
            updates.setdefault(name, []).append(replace(low, scale=low.scale * scale))
    wanted = {head if name == HEAD else matrices for name in updates}
    for encoding in wanted:
        if encoding not in MERGED:
            known = ", ".join(each.value for each in MERGED)
            what = "without a type" if encoding is None else f"as {encoding.value}"
            raise UnsupportedError(
                f"A model with merged adapters is not written {what}: rounding to few levels is worse than leaving the "
                f"adapter out. Choose one of {known}, or keep the adapter separate (--lora of run, chat and serve)."
            )
    tensors, config = dict(source.tensors), source.config
    if HEAD in updates and config.tied_head:
        tensors[HEAD] = _renamed(tensors["token_embd.weight"], HEAD)
        config = replace(config, tied_head=False)
    for name, lows in updates.items():
        latent = source.latent and name != HEAD
        tensors[name] = _merged(tensors[name], lows, latent)
    return replace(source, config=config, tensors=tensors, latent=False)


def _renamed(tensor: AnyTensor, name: str) -> TensorStream:
    return TensorStream(name, tensor.shape, tensor.encoding, lambda: (replace(whole(tensor), name=name),))


def _merged(tensor: AnyTensor, lows: Sequence[LowRank], latent: bool) -> TensorStream:
    """A matrix in float32 with updates added to it; of latent weights, to the ternary matrix that they stand for."""

    def make() -> Iterator[Tensor]:
        part = whole(tensor)
        if latent and part.encoding.is_float:
            codes, scale = codes_of(part, latent=True)
            values = codes.astype(np.float32) * np.float32(scale)
        else:
            values = decode(part)
        for low in lows:
            values = values + low.delta()
        yield encode(part.name, values, Encoding.F32)

    return TensorStream(tensor.name, tensor.shape, Encoding.F32, make)

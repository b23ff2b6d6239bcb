"""Models in files: GGUF, and folders of the Hugging Face hub."""

from __future__ import annotations

import os
from dataclasses import replace

from sterna.checkpoint.checkpoint import Checkpoint, about
from sterna.checkpoint.gguf.model import load_gguf
from sterna.checkpoint.hf import load_hf
from sterna.checkpoint.hub import resolve_model
from sterna.checkpoint.tensor import Encoding, Tensor
from sterna.checkpoint.ternary import in_x86_layout
from sterna.errors import ArgumentError
from sterna.ternary.i2s import LAYOUTS

__all__ = ["Checkpoint", "Encoding", "Tensor", "load_gguf", "load_hf", "open_checkpoint", "resolve_model"]


def open_checkpoint(name: str | os.PathLike[str], i2s_layout: str = "x86") -> Checkpoint:
    """A model by its path (a GGUF file, or a folder with `config.json` and safetensors) or as `resolve_model` finds it.

    Raises NotFoundError where nothing readable is there, FormatError for a broken file, UnsupportedError for a model
    that Sterna cannot run, ArgumentError for an unknown layout, and what `resolve_model` raises.

    `i2s_layout`: how a GGUF file keeps its I2_S matrices, which nothing in the file says: `x86`, `arm` or `x86-rows`
    (`sterna.ternary.i2s`). The tensors of the result are in `x86` always.
    """
    if i2s_layout not in LAYOUTS:
        raise ArgumentError(f"i2s_layout must be {', '.join(LAYOUTS[:-1])} or {LAYOUTS[-1]}, not {i2s_layout!r}.")
    path = resolve_model(name)
    if path.is_dir():
        if i2s_layout != "x86":
            raise ArgumentError(f"{path} is a folder; i2s_layout is for GGUF files.")
        return load_hf(path)
    checkpoint = load_gguf(path)
    with about(checkpoint.path):
        tensors = {name: in_x86_layout(tensor, i2s_layout) for name, tensor in checkpoint.tensors.items()}
    return replace(checkpoint, tensors=tensors)

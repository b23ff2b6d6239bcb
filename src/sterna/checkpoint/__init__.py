"""Models in files: GGUF, and folders of the Hugging Face hub."""

from __future__ import annotations

import os
from pathlib import Path

from sterna.checkpoint.checkpoint import Checkpoint
from sterna.checkpoint.gguf.model import load_gguf
from sterna.checkpoint.hf import load_hf
from sterna.checkpoint.tensor import Encoding, Tensor

__all__ = ["Checkpoint", "Encoding", "Tensor", "load_gguf", "load_hf", "open_checkpoint"]


def open_checkpoint(path: str | os.PathLike[str]) -> Checkpoint:
    """The model at `path`, a GGUF file or a folder with `config.json` and safetensors.

    Raises NotFoundError where nothing readable is there, FormatError for a broken file, UnsupportedError for a model
    that Sterna cannot run.
    """
    return load_hf(path) if Path(path).is_dir() else load_gguf(path)

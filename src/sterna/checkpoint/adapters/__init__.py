"""Reads adapters (LoRA) for a model: folders of PEFT and GGUF files of llama.cpp."""

from __future__ import annotations

import os
from pathlib import Path

from sterna.checkpoint.adapters.adapter import Adapter, LowRank, check_adapter, in_model, out_of_model
from sterna.checkpoint.adapters.gguf import read_adapter_gguf
from sterna.checkpoint.adapters.peft import CONFIG, PICKLE, WEIGHTS, read_peft
from sterna.errors import NotFoundError, SternaError, UnsupportedError
from sterna.files.gguf.names import gguf_files, is_gguf
from sterna.files.local import as_path, names_in
from sterna.model.config import ModelConfig

__all__ = ["Adapter", "LowRank", "in_model", "is_adapter", "out_of_model", "read_adapter"]


def read_adapter(name: str | os.PathLike[str], config: ModelConfig) -> Adapter:
    """The adapter at a path, checked against a model: a folder of PEFT (or a file in it), a GGUF file, or a folder with
    one.

    Raises NotFoundError where there is none, FormatError for a broken one or one of another model, UnsupportedError for
    one with features that Sterna does not run.
    """
    path = _place(name)
    try:
        adapter = read_adapter_gguf(path, config) if is_gguf(path.name) else read_peft(path, config)
        check_adapter(adapter, config)
    except SternaError as error:
        raise type(error)(f"{path} cannot be used as an adapter: {error}") from error
    return adapter


def is_adapter(name: str | os.PathLike[str]) -> bool:
    """Whether a path is a folder of PEFT, or a file in one."""
    path = as_path(name)
    return (path / CONFIG).is_file() or path.name in (CONFIG, WEIGHTS, PICKLE)


def _place(name: str | os.PathLike[str]) -> Path:
    path = as_path(name)
    if path.name in (CONFIG, WEIGHTS, PICKLE):
        path = path.parent
    if not path.exists():
        raise NotFoundError(f"{path} is not there: an adapter is a folder of PEFT or a GGUF file.")
    if not path.is_dir():
        if not is_gguf(path.name):
            raise UnsupportedError(f"{path} is no adapter: give a folder of PEFT, or a GGUF file.")
        return path
    names = names_in(path)
    if CONFIG not in names and len(gguf_files(names)) == 1:
        return path / gguf_files(names)[0]
    if CONFIG not in names:
        raise NotFoundError(f"{path} has no {CONFIG}, and no single GGUF file: it is no folder of an adapter.")
    return path

"""Opens models in files: GGUF, Hugging Face folders, and checkpoints of `sterna train`."""

from __future__ import annotations

import os

from sterna.checkpoint.checkpoint import Checkpoint
from sterna.errors import OptionError
from sterna.files.gguf.names import is_gguf
from sterna.files.gguf.reader import begins_as_gguf
from sterna.files.hub.cache import resolve_model
from sterna.files.local import STATE_FILE, is_hf_folder
from sterna.files.no_model import no_model, no_model_file
from sterna.ternary.i2s import LAYOUTS

__all__ = ["Checkpoint", "open_checkpoint"]


def open_checkpoint(name: str | os.PathLike[str], i2s_layout: str = "x86") -> Checkpoint:
    """The model at a path, or as `resolve_model` finds it: a GGUF file or a folder that holds one, a folder with
    `config.json` and safetensors, or a training run's `state.safetensors` or folder.

    Raises NotFoundError where nothing readable is there, FormatError for a broken file, UnsupportedError for a model
    that Sterna cannot run, ArgumentError for an unknown layout, and what `resolve_model` raises.

    `i2s_layout`: how a GGUF file keeps its I2_S matrices, which the file does not record: `x86`, `arm` or `x86-rows`
    (`sterna.ternary.i2s`). The tensors of the result are always in `x86`.
    """
    if i2s_layout not in LAYOUTS:
        raise OptionError("i2s_layout", f"is {', '.join(LAYOUTS[:-1])} or {LAYOUTS[-1]}, not {i2s_layout!r}.")
    path = resolve_model(name)
    # A reader is imported only when it is needed, so that a program starts sooner.
    if not path.is_dir() and path.suffix != ".safetensors":
        if not is_gguf(path.name) and not begins_as_gguf(path):
            raise no_model_file(path)
        from sterna.checkpoint.gguf.model import open_gguf

        return open_gguf(path, i2s_layout)
    if i2s_layout != "x86":
        what = "a folder" if path.is_dir() else "a safetensors file"
        raise OptionError("i2s_layout", f"is for GGUF files, and {path} is {what}.")
    if path.is_dir() and is_hf_folder(path):
        from sterna.checkpoint.hf.folder import open_hf

        return open_hf(path)
    if path.is_dir() and not (path / STATE_FILE).exists():
        raise no_model(path)
    from sterna.checkpoint.state import open_state

    return open_state(path / STATE_FILE if path.is_dir() else path)

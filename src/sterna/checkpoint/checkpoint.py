"""A model as it comes out of any file: configuration, tensors, metadata."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sterna.checkpoint.decode import as_float32
from sterna.checkpoint.tensor import Tensor
from sterna.checkpoint.validate import check_config, check_tensors
from sterna.errors import FormatError, SternaError
from sterna.model.config import ModelConfig


@dataclass(frozen=True)
class Checkpoint:
    """A checked model. `tensors` by canonical name, norms in float32; `metadata` as the file has it (GGUF keys, or
    the `config.json` of a folder)."""

    config: ModelConfig
    tensors: dict[str, Tensor]
    metadata: dict[str, Any]
    path: Path


@contextmanager
def about(path: Path) -> Iterator[None]:
    """Let errors of the block say which model they are about."""
    try:
        yield
    except SternaError as error:
        raise type(error)(f"{path} cannot be run: {error}") from error


def finish(path: Path, config: ModelConfig, tensors: Mapping[str, Tensor], metadata: dict[str, Any]) -> Checkpoint:
    """Check configuration and tensors against each other; raises FormatError and UnsupportedError."""
    check_config(config)
    check_tensors(config, tensors)
    ready = {name: as_float32(tensor) if len(tensor.shape) == 1 else tensor for name, tensor in tensors.items()}
    for name, tensor in ready.items():
        if len(tensor.shape) == 1 and not np.isfinite(tensor.data.view(np.float32)).all():
            raise FormatError(f"The norm {name!r} has values that are not finite.")
    return Checkpoint(config, ready, metadata, path)

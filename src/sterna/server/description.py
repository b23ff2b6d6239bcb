"""What the files of a known model say of it. Its weights stay on the disk."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from math import prod
from pathlib import Path
from typing import Any

from sterna.checkpoint import open_checkpoint
from sterna.checkpoint.gguf.keys import config_keys, file_keys
from sterna.server.known import Known
from sterna.server.thinking import tags_of


@dataclass(frozen=True)
class Description:
    """A model's shape."""

    format: str
    """`gguf` or `safetensors`."""
    parameters: int
    encoding: str
    """That of most of its weights, by GGUF's name."""
    keys: Mapping[str, Any]
    """The model as GGUF's keys describe it, those of the tokenizer excepted."""

    context_length: int
    """Most positions that the model is made for."""

    @property
    def architecture(self) -> str:
        """GGUF's name of the architecture, with which its keys begin."""
        return str(self.keys["general.architecture"])


def describe(known: Known) -> Description:
    """Reads the headers of a model's files, unless that was done before. Raises as `open_checkpoint`."""
    return _describe(known.path, known.path.stat().st_mtime_ns)


@lru_cache(maxsize=256)
def _describe(path: Path, modified: int) -> Description:
    checkpoint = open_checkpoint(path)
    weights: Counter[str] = Counter()
    for tensor in checkpoint.tensors.values():
        weights[tensor.encoding.name] += prod(tensor.shape)
    parameters = weights.total()
    keys = config_keys(checkpoint.config, checkpoint.name) | file_keys(checkpoint.tensors.values())
    return Description(
        format="gguf" if checkpoint.kind == "gguf" else "safetensors",
        parameters=parameters,
        encoding=weights.most_common(1)[0][0],
        keys={**keys, "general.parameter_count": parameters},
        context_length=checkpoint.config.context_length,
    )


@dataclass(frozen=True)
class Abilities:
    """What a model's vocabulary and template let it do."""

    template: str | None
    """Its chat template; None where it has none."""
    fills_gaps: bool
    """Whether it can fill in the middle of a text."""
    thinks: bool
    """Whether it may think before it answers."""


def abilities(known: Known) -> Abilities:
    """Reads a model's vocabulary, unless that was done before. Raises as `open_checkpoint`."""
    return _abilities(known.path, known.path.stat().st_mtime_ns)


@lru_cache(maxsize=256)
def _abilities(path: Path, modified: int) -> Abilities:
    tokenizer = open_checkpoint(path).tokenizer()
    template = tokenizer.chat_template
    return Abilities(template, tokenizer.can_infill, tags_of(template) is not None)

"""Writes a model as one GGUF file or several."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sterna.checkpoint import Checkpoint
from sterna.checkpoint.convert.check import same_config
from sterna.checkpoint.gguf.keys import config_keys, file_keys, renamed
from sterna.checkpoint.gguf.model import read_config
from sterna.errors import UnsupportedError
from sterna.files.gguf.names import split_name
from sterna.files.gguf.writer import stored_bytes, write_gguf_to
from sterna.files.huge_page_writer import HugePageWriter
from sterna.files.safetensors.writer import in_shards
from sterna.model.architectures import GGUF_VARIANTS, architecture_of
from sterna.model.config import ModelConfig
from sterna.model.tokenizer.special import TokenType
from sterna.tensor.tensor import AnyTensor


def check_gguf(config: ModelConfig) -> None:
    """Raises UnsupportedError for a BitNet model with a head of its own."""
    if config.architecture.startswith("bitnet") and not config.tied_head:
        raise UnsupportedError(
            "This model has a head of its own, and a BitNet model in GGUF takes its embedding for one: "
            "convert it to a Hugging Face folder instead."
        )


def rope_style(source: Checkpoint) -> str:
    """How q and k pair their dimensions in a GGUF file of this model."""
    return GGUF_VARIANTS[_architecture_name(source)][1].rope_style


def _architecture_name(source: Checkpoint) -> str:
    return architecture_of(source.config).gguf_name(source.config)


def metadata_of(source: Checkpoint, tensors: Sequence[AnyTensor], name: str | None) -> dict[str, Any]:
    """All keys of the new file: those of a GGUF source, or made from configuration and tokenizer.

    Raises UnsupportedError for a model that GGUF cannot describe.
    """
    if source.kind == "gguf":
        kept = {key: value for key, value in source.metadata.items() if not key.startswith("split.")}
        metadata = renamed(kept, _architecture_name(source))
        if name is not None:
            metadata["general.name"] = name
    else:
        metadata = config_keys(source.config, name or source.name)
        if source.has_tokenizer:
            metadata |= _padded(source.tokenizer().gguf_metadata(), source.config.vocab_size)
    by_name: dict[str, Any] = {tensor.name: tensor for tensor in tensors}
    same_config(source.config, read_config(metadata, by_name, {}), by_name, "GGUF")
    return metadata | file_keys(tensors)


def _padded(keys: dict[str, Any], size: int) -> dict[str, Any]:
    """Tokenizer keys, padded with unused tokens to the `size` rows of the embedding, as llama.cpp requires."""
    tokens = keys["tokenizer.ggml.tokens"]
    added = range(len(tokens), size)
    if not added:
        return keys
    longer: dict[str, Any] = {"tokens": [*tokens, *(f"[PAD{token}]" for token in added)]}
    fills = {"token_type": TokenType.UNUSED, "scores": min(keys.get("tokenizer.ggml.scores", [0.0])) - 1}
    for name, fill in fills.items():
        if f"tokenizer.ggml.{name}" in keys:
            longer[name] = np.pad(keys[f"tokenizer.ggml.{name}"], (0, len(added)), constant_values=fill)
    return keys | {f"tokenizer.ggml.{name}": value for name, value in longer.items()}


def parts_of(name: str, tensors: Sequence[AnyTensor], most: int | None) -> dict[str, list[AnyTensor]]:
    """The tensors of each file by name: `name` alone, or NAME-00001-of-0000N.gguf with at most `most` bytes each."""
    if most is None:
        return {name: list(tensors)}
    parts = in_shards(tensors, [stored_bytes(tensor) for tensor in tensors], most)
    return {split_name(name, number, len(parts)): part for number, part in enumerate(parts)}


def write_files(
    folder: Path, parts: Mapping[str, Sequence[AnyTensor]], metadata: dict[str, Any], written: Callable[[int], None]
) -> None:
    """Writes the files of `parts_of` into `folder`; the first has all metadata."""
    total = sum(map(len, parts.values()))
    for number, (name, tensors) in enumerate(parts.items()):
        keys = metadata if number == 0 else {"general.architecture": metadata["general.architecture"]}
        if len(parts) > 1:
            split = {"no": np.uint16(number), "count": np.uint16(len(parts)), "tensors.count": np.int32(total)}
            keys = keys | {f"split.{key}": value for key, value in split.items()}
        with HugePageWriter(folder / name) as file:
            write_gguf_to(file, keys, tensors, written)

"""Opens checkpoints of `sterna train`: float32 latent weights as `model.NAME`, beside the state of the optimizers.

The metadata `quantization` says how they were made ternary: null (or no entry) is absmean, else it has the fields of a
`GroupQuantizer` and `embedding`, whether the embedding was made ternary too.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sterna.checkpoint.checkpoint import Checkpoint, about, check
from sterna.errors import FormatError
from sterna.files.safetensors.reader import read_metadata, read_safetensors
from sterna.model.config import ModelConfig, config_from_dict
from sterna.model.validate import check_config, tensor_shapes
from sterna.tensor.encodings import Encoding
from sterna.tensor.latent import in_groups
from sterna.tensor.tensor import AnyTensor, Tensor
from sterna.ternary.groups import GROUP_SIZES, GroupQuantizer

QUANTIZATION = "quantization"
"""The metadata key of how weights were made ternary."""


def open_state(path: Path) -> Checkpoint:
    """The model of a training run at its last checkpoint. Its matrices are latent, or, where it was trained in groups,
    streams that make them ternary.

    Raises NotFoundError and FormatError for a file that is no checkpoint of a training run.
    """
    metadata, stored = read_metadata(path), read_safetensors(path)
    with about(path):
        config = _config(metadata)
        groups, ternary_embedding = _groups(metadata)
        check_config(config)
        tensors: dict[str, AnyTensor] = {}
        for name in tensor_shapes(config):
            entry = stored.get(f"model.{name}")
            if entry is None or entry.dtype != "F32":
                raise FormatError(f"it has no float32 tensor 'model.{name}' (no checkpoint of a training run?).")
            tensor = Tensor(name, entry.shape, Encoding.F32, entry.data)
            is_ternary = name.startswith("blk.") or ternary_embedding
            tensors[name] = in_groups(tensor, groups) if groups and is_ternary and len(entry.shape) == 2 else tensor
        check(config, tensors)
    return Checkpoint(config, tensors, {}, path, "state", latent=groups is None)


def recorded_groups(groups: GroupQuantizer | None, embedding: bool) -> dict[str, Any] | None:
    """What a state records as `QUANTIZATION`."""
    return None if groups is None else asdict(groups) | {"embedding": embedding}


def _groups(metadata: Mapping[str, str]) -> tuple[GroupQuantizer | None, bool]:
    """The inverse of `recorded_groups`."""
    try:
        match json.loads(metadata.get(QUANTIZATION, "null")):
            case None:
                return None, False
            case {"group_size": size, "zeros": zeros, "embedding": bool(embedding)} if size in GROUP_SIZES and (
                zeros is None or type(zeros) is int and 0 <= zeros < size
            ):
                return GroupQuantizer(size, zeros), embedding
    except (ValueError, RecursionError):
        pass
    raise FormatError(
        f"it does not say how its weights are made ternary: its {QUANTIZATION} is none that Sterna knows."
    )


def _config(metadata: Mapping[str, str]) -> ModelConfig:
    try:
        raw = json.loads(metadata["model"])
    except (KeyError, ValueError, RecursionError) as error:
        raise FormatError(
            "it does not say what model it belongs to: it is no checkpoint of a training run, and no model that a "
            "config.json beside it describes."
        ) from error
    return config_from_dict(raw)

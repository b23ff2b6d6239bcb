"""Opens checkpoints of `sterna train`: float32 latent weights as `model.NAME`, beside the state of the optimizers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from sterna.checkpoint.checkpoint import Checkpoint, about, check
from sterna.errors import FormatError
from sterna.files.safetensors.reader import read_metadata, read_safetensors
from sterna.model.config import ModelConfig, config_from_dict
from sterna.model.validate import check_config, tensor_shapes
from sterna.tensor.encodings import Encoding
from sterna.tensor.tensor import AnyTensor, Tensor


def open_state(path: Path) -> Checkpoint:
    """The model of a training run at its last checkpoint; its matrices are latent.

    Raises NotFoundError and FormatError for a file that is no checkpoint of a training run.
    """
    metadata, stored = read_metadata(path), read_safetensors(path)
    with about(path):
        config = _config(metadata)
        check_config(config)
        tensors: dict[str, AnyTensor] = {}
        for name in tensor_shapes(config):
            entry = stored.get(f"model.{name}")
            if entry is None or entry.dtype != "F32":
                raise FormatError(f"it has no float32 tensor 'model.{name}' (no checkpoint of a training run?).")
            tensors[name] = Tensor(name, entry.shape, Encoding.F32, entry.data)
        check(config, tensors)
    return Checkpoint(config, tensors, {}, path, "state", latent=True)


def _config(metadata: Mapping[str, str]) -> ModelConfig:
    try:
        raw = json.loads(metadata["model"])
    except (KeyError, ValueError, RecursionError) as error:
        raise FormatError(
            "it does not say what model it belongs to: it is no checkpoint of a training run, and no model that a "
            "config.json beside it describes."
        ) from error
    return config_from_dict(raw)

"""A training state on disk: latent weights, the optimizers' moments and the step in one safetensors file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import nn

from sterna.errors import FormatError
from sterna.files.atomic import atomic_write
from sterna.train.optimizer import Optimizers

ORIGINS = {
    "model": "holds a model of another shape than the config's [model]",
    "data": "belongs to other files of data.train or another tokenizer",
}
"""The origins that a state records, and the error message where those of a run differ."""


def save_state(path: Path, model: nn.Module, optimizers: Optimizers, step: int, origin: Mapping[str, object]) -> None:
    """Writes `path` atomically: `model.NAME` and `SLOT.NAME` tensors, with the step and `origin` (see `ORIGINS`)."""
    tensors = {}
    for name, parameter in model.named_parameters():
        tensors[f"model.{name}"] = parameter.detach()
        for slot, tensor in optimizers.state_of(parameter).items():
            tensors[f"{slot}.{name}"] = tensor
    tensors = {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}
    metadata = {"step": str(step)} | {key: json.dumps(value) for key, value in origin.items()}
    with atomic_write(path) as file:
        file.write(save(tensors, metadata=metadata))


def load_state(path: Path, model: nn.Module, optimizers: Optimizers | None, origin: Mapping[str, object]) -> int:
    """Fills `model` (and `optimizers`) from `path`; returns the step. Raises FormatError where they do not match."""
    parameters = dict(model.named_parameters())
    try:
        with safe_open(str(path), framework="pt") as file, torch.no_grad():
            metadata = file.metadata() or {}
            for key, value in origin.items():
                if json.loads(metadata.get(key, "null")) != json.loads(json.dumps(value)):
                    raise FormatError(f"{path} {ORIGINS[key]}; move it away or give the run another output folder.")
            for name, parameter in parameters.items():
                parameter.copy_(file.get_tensor(f"model.{name}"))
            for key in file.keys():
                slot, name = key.split(".", 1)
                if slot != "model" and optimizers is not None:
                    parameter = parameters[name]
                    # Fused AdamW keeps its step count on the parameter's device, too, so every slot goes there.
                    optimizers.state_of(parameter)[slot] = file.get_tensor(key).to(parameter.device)
            return int(metadata["step"])
    except (SafetensorError, OSError, ValueError, KeyError, RuntimeError) as error:
        raise FormatError(f"{path} is no training state of this model: {error}.") from error

"""A training state on disk: latent weights, the optimizers' moments and the step in one safetensors file."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
"""Metadata that a state must have in common with the run that goes on from it, and the error where they differ."""
CONFIG = "config"
"""The metadata key of the run's whole config, which may differ."""


@dataclass(frozen=True)
class Saved:
    """What a state records about the run that saved it."""

    step: int
    config: dict[str, Any]
    """The run's config; empty in a state that records none."""


def save_state(path: Path, model: nn.Module, optimizers: Optimizers, step: int, origin: Mapping[str, object]) -> None:
    """Writes `path` atomically: tensors `model.NAME` and `SLOT.NAME`; the step and `origin`, which has the keys of
    `ORIGINS`, `CONFIG` and `QUANTIZATION` (`sterna.checkpoint.state`), are its metadata. The caller makes sure that all
    numbers are finite (`not_finite`)."""
    tensors = {name: tensor.cpu().contiguous() for name, tensor in _tensors(model, optimizers)}
    metadata = {"step": str(step)} | {key: json.dumps(value) for key, value in origin.items()}
    with atomic_write(path) as file:
        file.write(save(tensors, metadata=metadata))


def not_finite(model: nn.Module, optimizers: Optimizers) -> str | None:
    """The name of a weight or moment tensor with a number that is not finite, None where there is none."""
    return next((name for name, tensor in _tensors(model, optimizers) if not tensor.isfinite().all()), None)


def _tensors(model: nn.Module, optimizers: Optimizers) -> Iterator[tuple[str, torch.Tensor]]:
    for name, parameter in model.named_parameters():
        yield f"model.{name}", parameter.detach()
        for slot, tensor in optimizers.state_of(parameter).items():
            yield f"{slot}.{name}", tensor


def read_origin(path: Path, origin: Mapping[str, object]) -> Saved:
    """What the state at `path` records. Raises FormatError where the file is no state, or where an entry of `origin`
    differs from the state's; of an entry that is a dictionary, only the keys in `origin` are compared."""
    try:
        with safe_open(str(path), framework="pt") as file:
            metadata = {key: json.loads(value) for key, value in (file.metadata() or {}).items() if key != "format"}
        saved = Saved(int(metadata["step"]), metadata.get(CONFIG, {}))
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise FormatError(f"{path} is no training state: {error}.") from error
    for key, sentence in ORIGINS.items():
        if key not in origin:
            continue
        own, wanted = metadata.get(key), json.loads(json.dumps(origin[key]))
        if isinstance(own, dict) and isinstance(wanted, dict):
            own = {name: own.get(name) for name in wanted}
        if own != wanted:
            differences = ", ".join(changes(own, wanted)) if isinstance(own, dict) else ""
            raise FormatError(
                f"{path} {sentence}{differences and f' ({differences})'}; move it away or give the run another "
                "output folder."
            )
    return saved


def load_state(path: Path, model: nn.Module, optimizers: Optimizers | None, origin: Mapping[str, object]) -> int:
    """Fills `model` (and `optimizers`) from `path`; returns the step.

    A parameter begins with fresh moments if another optimizer than now updated it in the saved run. Raises
    FormatError where model and state do not match, or where the state has numbers that are not finite.
    """
    saved = read_origin(path, origin)
    parameters = dict(model.named_parameters())
    try:
        with safe_open(str(path), framework="pt") as file, torch.no_grad():
            slots: dict[str, set[str]] = {name: set() for name in parameters}
            for key in file.keys():
                slot, name = key.split(".", 1)
                slots[name].add(slot)
            for name, parameter in parameters.items():
                parameter.copy_(_finite(path, file.get_tensor(f"model.{name}")))
                moments = slots[name] - {"model"}
                if optimizers is not None and moments == optimizers.slots_of(parameter):
                    for slot in moments:
                        # Fused AdamW keeps its step count on the parameter's device, too, so every slot goes there.
                        state = _finite(path, file.get_tensor(f"{slot}.{name}")).to(parameter.device)
                        optimizers.state_of(parameter)[slot] = state
    except (SafetensorError, OSError, ValueError, KeyError, RuntimeError) as error:
        raise FormatError(f"{path} is no training state of this model: {error}.") from error
    return saved.step


def _finite(path: Path, tensor: torch.Tensor) -> torch.Tensor:
    if not tensor.isfinite().all():
        raise FormatError(
            f"{path} comes from a run that diverged: it has numbers that are not finite. Delete it to begin again, "
            "with a lower training.learning_rate."
        )
    return tensor


def changes(old: Any, new: Any, name: str = "") -> Iterator[str]:
    """`section.key OLD -> NEW` for each difference of two dictionaries of JSON values."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted(old.keys() | new.keys()):
            yield from changes(old.get(key), new.get(key), f"{name}.{key}" if name else key)
    elif old != new:
        yield f"{name} {_shown(old)} -> {_shown(new)}"


def _shown(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."

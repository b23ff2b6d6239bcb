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

from sterna.errors import FormatError, SternaError
from sterna.files.atomic import atomic_write
from sterna.train.optimizer import Optimizers

ORIGINS = {
    "model": "holds a model of another shape than the config's [model]",
    "data": "belongs to other files of data.train or another tokenizer",
}
"""The origins that a state records, and the error message where those of a run differ."""
CONFIG = "config"
"""The metadata key of the whole config of the run that saved a state."""


class DivergedError(SternaError):
    """The loss, its gradients or what a step made of them are no longer finite."""


@dataclass(frozen=True)
class Saved:
    """What a state says of the run that saved it."""

    step: int
    config: dict[str, Any]
    """The run's config, empty in states that have none."""


def save_state(path: Path, model: nn.Module, optimizers: Optimizers, step: int, origin: Mapping[str, object]) -> None:
    """Writes `path` atomically: `model.NAME` and `SLOT.NAME` tensors, with the step and `origin` (see `ORIGINS`, and
    `CONFIG`). Raises DivergedError, and leaves what is at `path`, where a number is not finite."""
    tensors = {}
    for name, parameter in model.named_parameters():
        tensors[f"model.{name}"] = parameter.detach()
        for slot, tensor in optimizers.state_of(parameter).items():
            tensors[f"{slot}.{name}"] = tensor
    for name, tensor in tensors.items():
        if not tensor.isfinite().all():
            raise DivergedError(f"{name} has numbers that are not finite")
    tensors = {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}
    metadata = {"step": str(step)} | {key: json.dumps(value) for key, value in origin.items()}
    with atomic_write(path) as file:
        file.write(save(tensors, metadata=metadata))


def read_origin(path: Path, origin: Mapping[str, object]) -> Saved:
    """What a state says of itself. Raises FormatError where it is none, or where entries of `origin` differ from its
    own; of an origin that is a dictionary, only the keys given are compared."""
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

    A parameter whose optimizer is another than the one that saved the state begins with fresh moments. Raises
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
            f"{path} is of a run that diverged: it has numbers that are not finite. Delete it to begin again, with a "
            "lower training.learning_rate."
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

"""A training state on disk: latent weights, the optimizers' moments and the step in one safetensors file."""

from __future__ import annotations

import hashlib
import json
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import nn

from sterna.errors import FormatError
from sterna.files.atomic import atomic_write
from sterna.train.distributed import process_rank, sharded_as, whole
from sterna.train.optimizer import Optimizers

ORIGINS = {
    "model": "holds a model of another shape than the config's [model]",
    "data": "belongs to other files of data.train or another tokenizer",
}
"""Metadata that a state must have in common with the run that goes on from it, and the error where they differ."""
CONFIG = "config"
"""The metadata key of the run's whole config, which may differ."""
GUARD = "guard"
"""The metadata key of what `Guard` remembers of the last steps."""
DIGEST = "sha256"
"""The metadata key of the digest of everything else in the file."""


@dataclass(frozen=True)
class Saved:
    """What a state records about the run that saved it."""

    step: int
    origin: dict[str, Any]
    """The entries of `ORIGINS` that the state has."""
    config: dict[str, Any]
    """The run's config; empty in a state that records none."""
    guard: dict[str, Any] = field(default_factory=dict)
    """What `Guard.recorded` gave; empty in a state that records nothing."""


def save_state(
    path: Path,
    model: nn.Module,
    optimizers: Optimizers,
    step: int,
    origin: Mapping[str, object],
    ready: Callable[[], None] = lambda: None,
) -> None:
    """Writes `path` atomically: tensors `model.NAME` and `SLOT.NAME`; the step and `origin`, which has the keys of
    `ORIGINS`, `CONFIG`, `GUARD` and `QUANTIZATION` (`sterna.checkpoint.state`), are its metadata, and so is a digest.

    Of several processes, which must all call it, the first writes. The file is read back before it gets its name; then
    `ready` is called. The caller makes sure that all numbers are finite (`not_finite`). Raises OSError, also where what
    was read back is not what was written.
    """
    gathered = ((name, tensor.cpu().contiguous()) for name, tensor in _tensors(model, optimizers))
    if process_rank() > 0:
        deque(gathered, maxlen=0)
        return
    tensors = dict(gathered)
    metadata = {"step": str(step)} | {key: json.dumps(value) for key, value in origin.items()}
    metadata[DIGEST] = _digest(metadata, tensors.items())
    with atomic_write(path) as file:
        data = save(tensors, metadata=metadata)
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
        file.seek(0)
        if _file_digest(file) != hashlib.sha256(data).digest():
            raise OSError(f"{path} could not be read back as it was written; the disk may be failing.")
        ready()


def _digest(metadata: Mapping[str, str], tensors: Iterable[tuple[str, torch.Tensor]]) -> str:
    """The SHA-256 of metadata and of tensors in the order of their names, in hexadecimal digits."""
    own = {key: value for key, value in metadata.items() if key not in (DIGEST, "format")}
    digest = hashlib.sha256(json.dumps(own, sort_keys=True).encode())
    for name, tensor in sorted(tensors, key=lambda entry: entry[0]):
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _file_digest(file: BinaryIO) -> bytes:
    """The SHA-256 of what is left of a file."""
    digest = hashlib.sha256()
    while part := file.read(1 << 20):
        digest.update(part)
    return digest.digest()


def check_digest(path: Path) -> None:
    """Raises FormatError where the state at `path` is not the one that was written. A state of a development version,
    which has no digest, passes."""
    with _reading(path), safe_open(str(path), framework="pt") as file:
        metadata = file.metadata() or {}
        tensors = ((name, file.get_tensor(name)) for name in sorted(file.keys()))
        if DIGEST in metadata and metadata[DIGEST] != _digest(metadata, tensors):
            raise FormatError(f"{path} is damaged: its SHA-256 is not the one that it was written with.")


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turns what reading a file that is no state raises into FormatError."""
    try:
        yield
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, RuntimeError, RecursionError) as error:
        raise FormatError(f"{path} is no training state: {error}.") from error


def not_finite(model: nn.Module, optimizers: Optimizers) -> str | None:
    """The name of a weight or moment tensor with a number that is not finite, None where there is none."""
    return next((name for name, tensor in _tensors(model, optimizers) if not tensor.isfinite().all()), None)


def _tensors(model: nn.Module, optimizers: Optimizers) -> Iterator[tuple[str, torch.Tensor]]:
    for name, parameter in model.named_parameters():
        yield f"model.{name}", whole(parameter.detach())
        # Sharded tensors are gathered here, which every process must do in the same order.
        for slot, tensor in sorted(optimizers.state_of(parameter).items()):
            yield f"{slot}.{name}", whole(tensor)


def read_saved(path: Path) -> Saved:
    """What the state at `path` records. Raises FormatError where the file is no state."""
    with _reading(path):
        with safe_open(str(path), framework="pt") as file:
            texts = {key: value for key, value in (file.metadata() or {}).items() if key not in ("format", DIGEST)}
        metadata = {key: json.loads(value) for key, value in texts.items()}
        origin = {key: metadata[key] for key in ORIGINS if key in metadata}
        return Saved(int(metadata["step"]), origin, metadata.get(CONFIG, {}), dict(metadata.get(GUARD, {})))


def check_origin(path: Path, saved: Saved, origin: Mapping[str, object]) -> None:
    """Raises FormatError where the state at `path` is one of another run: an entry of `ORIGINS` differs from that of
    `origin`. Of an entry that is a dictionary, only the keys in `origin` are compared."""
    for key, sentence in ORIGINS.items():
        if key not in origin:
            continue
        own, wanted = saved.origin.get(key), json.loads(json.dumps(origin[key]))
        if isinstance(own, dict) and isinstance(wanted, dict):
            own = {name: own.get(name) for name in wanted}
        if own != wanted:
            differences = ", ".join(changes(own, wanted)) if isinstance(own, dict) else ""
            raise FormatError(
                f"{path} {sentence}{differences and f' ({differences})'}; move it away or give the run another "
                "output folder."
            )


def load_state(path: Path, model: nn.Module, optimizers: Optimizers | None, origin: Mapping[str, object]) -> Saved:
    """Fills `model` (and `optimizers`) from `path`; returns what it records.

    A parameter begins with fresh moments if another optimizer than now updated it in the saved run. Raises
    FormatError where model and state do not match, or where the state has numbers that are not finite.
    """
    saved = read_saved(path)
    check_origin(path, saved, origin)
    parameters = dict(model.named_parameters())
    try:
        with safe_open(str(path), framework="pt") as file, torch.no_grad():
            slots: dict[str, set[str]] = {name: set() for name in parameters}
            for key in file.keys():
                slot, name = key.split(".", 1)
                slots[name].add(slot)
            for name, parameter in parameters.items():
                parameter.copy_(sharded_as(parameter, _finite(path, file.get_tensor(f"model.{name}"))))
                moments = slots[name] - {"model"}
                if optimizers is not None and moments == optimizers.slots_of(parameter):
                    for slot in moments:
                        # Fused AdamW keeps its step count on the parameter's device, too, so every slot goes there.
                        state = _finite(path, file.get_tensor(f"{slot}.{name}"))
                        optimizers.state_of(parameter)[slot] = sharded_as(parameter, state)
    except (SafetensorError, OSError, ValueError, KeyError, RuntimeError) as error:
        raise FormatError(f"{path} is no training state of this model: {error}.") from error
    return saved


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

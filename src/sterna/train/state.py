"""A training state on disk: latent weights, the optimizers' moments and the step, as safetensors."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from sterna.checkpoint.state_files import PARTS, STEP, shard_path
from sterna.errors import FormatError
from sterna.train.distributed import is_sharded, largest, own_part, own_rows, process_count, process_rank, texts_of_all
from sterna.train.optimizer import Optimizers
from sterna.train.shards import DIGEST, StateReader, opened, reading, write_file

ORIGINS = {
    "model": "holds a model of another shape than this run's",
    "data": "belongs to other training data or another tokenizer",
    "adapter": "belongs to another adapter",
}
"""Metadata that a state must have in common with the run that goes on from it, and the error where they differ."""
KINDS = {"lora": "an adapter", "adapter": "a model with an adapter in it"}
"""What a state with such metadata holds; any other holds a model."""
CONFIG = "config"
"""The metadata key of the run's whole config, which may differ."""
GUARD = "guard"
"""The metadata key of what `Guard` remembers of the last steps."""
TASK = "task"
"""The metadata key of what the task found out before the first step (`sterna.train.loop.Task.recorded`)."""


@dataclass(frozen=True)
class Saved:
    """What a state records about the run that saved it."""

    step: int
    origin: dict[str, Any]
    """The entries of `ORIGINS` and `KINDS` that the state has."""
    config: dict[str, Any]
    """The run's config; empty in a state that records none."""
    guard: dict[str, Any] = field(default_factory=dict)
    """What `Guard.recorded` gave; empty in a state that records nothing."""
    task: dict[str, Any] = field(default_factory=dict)
    """What `Task.recorded` gave; empty in a state that records nothing."""


def save_state(
    path: Path,
    model: nn.Module,
    optimizers: Optimizers,
    step: int,
    origin: Mapping[str, object],
    ready: Callable[[], None] = lambda: None,
) -> None:
    """Writes `path` atomically: tensors `model.NAME` and `SLOT.NAME`; the step and `origin`, which has the keys of
    `ORIGINS`, `KINDS`, `CONFIG`, `GUARD`, `TASK` and `QUANTIZATION` (`sterna.checkpoint.state`), are its metadata, and
    so is a digest.

    Of several processes, which must all call it, each writes its shards (`sterna.checkpoint.state_files`), the first
    one last: a state that was not finished leaves `path` as it was. Files are read back before they get their names;
    `ready` is called before `path` gets its name. The caller makes sure that all numbers are finite (`not_finite`).
    Raises OSError, also where what was read back is not what was written.
    """
    rank, count = process_rank(), process_count()
    tensors = {
        name: own_part(tensor).cpu().contiguous()
        for name, tensor in _tensors(model, optimizers)
        if rank == 0 or is_sharded(tensor)
    }
    metadata, digest = {STEP: str(step)}, " " * 64
    if rank > 0:
        own = shard_path(path, step, rank, count)
        own.parent.mkdir(exist_ok=True)
        digest = write_file(own, tensors, metadata)
    digests = texts_of_all(digest)[1:]
    if rank == 0:
        metadata |= {key: json.dumps(value) for key, value in origin.items()}
        write_file(path, tensors, metadata | ({PARTS: json.dumps(digests)} if digests else {}), ready)


def not_finite(model: nn.Module, optimizers: Optimizers) -> str | None:
    """The name of a weight or moment tensor with a number that is not finite, None where there is none; the same on
    every process, which must all call it."""
    names, bad = [], -1
    for index, (name, tensor) in enumerate(_tensors(model, optimizers)):
        names.append(name)
        if bad < 0 and not own_part(tensor).isfinite().all():
            bad = index
    bad = largest(bad)
    return names[bad] if bad >= 0 else None


def _tensors(model: nn.Module, optimizers: Optimizers) -> Iterator[tuple[str, torch.Tensor]]:
    for name, parameter in model.named_parameters():
        yield f"model.{name}", parameter.detach()
        for slot, tensor in sorted(optimizers.state_of(parameter).items()):
            yield f"{slot}.{name}", tensor


def read_saved(path: Path) -> Saved:
    """What the state at `path` records. Raises FormatError where the file is no state."""
    with reading(path):
        with safe_open(str(path), framework="pt") as file:
            unread = ("format", DIGEST, PARTS)
            texts = {key: value for key, value in (file.metadata() or {}).items() if key not in unread}
        metadata = {key: json.loads(value) for key, value in texts.items()}
        origin = {key: metadata[key] for key in (*ORIGINS, *KINDS) if key in metadata}
        guard, task = (dict(metadata.get(key, {})) for key in (GUARD, TASK))
        return Saved(int(metadata[STEP]), origin, metadata.get(CONFIG, {}), guard, task)


def check_origin(path: Path, saved: Saved, origin: Mapping[str, object]) -> None:
    """Raises FormatError where the state at `path` is one of another run: it is not of the same kind (`KINDS`), or an
    entry of `ORIGINS` differs from that of `origin`. Of an entry that is a dictionary, only the keys in `origin` are
    compared."""
    move = "move it away or give the run another output folder"
    if _kind(saved.origin) != _kind(origin):
        raise FormatError(f"{path} holds {_kind(saved.origin)}, and this run trains {_kind(origin)}; {move}.")
    for key, sentence in ORIGINS.items():
        if key not in origin:
            continue
        own, wanted = saved.origin.get(key), json.loads(json.dumps(origin[key]))
        if isinstance(own, dict) and isinstance(wanted, dict):
            own = {name: own.get(name) for name in wanted}
        if own != wanted:
            differences = ", ".join(changes(own, wanted)) if isinstance(own, dict) else ""
            raise FormatError(f"{path} {sentence}{differences and f' ({differences})'}; {move}.")


def _kind(origin: Mapping[str, object]) -> str:
    return next((what for key, what in KINDS.items() if key in origin), "a model")


def load_state(path: Path, model: nn.Module, optimizers: Optimizers | None, origin: Mapping[str, object]) -> Saved:
    """Fills `model` (and `optimizers`) from `path`; returns what it records. Of several processes, whose number need
    not be that of those that saved the state, each reads its rows.

    A parameter begins with fresh moments if another optimizer than now updated it in the saved run. Raises
    FormatError where model and state do not match, or where the state has numbers that are not finite.
    """
    saved = read_saved(path)
    check_origin(path, saved, origin)
    parameters = dict(model.named_parameters())
    try:
        with opened(path) as state, torch.no_grad():
            slots: dict[str, set[str]] = {name: set() for name in parameters}
            for key in state.names:
                slot, name = key.split(".", 1)
                slots[name].add(slot)
            for name, parameter in parameters.items():
                _fill(parameter, path, state, f"model.{name}")
                moments = slots[name] - {"model"}
                if optimizers is not None and moments == optimizers.slots_of(parameter):
                    for slot in moments:
                        optimizers.state_of(parameter)[slot] = _slot(parameter, path, state, f"{slot}.{name}")
    except (SafetensorError, OSError, ValueError, LookupError, RuntimeError) as error:
        raise FormatError(f"{path} is no training state of this model: {error}.") from error
    return saved


def _fill(tensor: torch.Tensor, path: Path, state: StateReader, name: str) -> None:
    """Reads this process's rows of a tensor."""
    if state.shape(name) != tensor.shape:
        raise ValueError(f"its {name} has the shape {list(state.shape(name))} instead of {list(tensor.shape)}")
    own_part(tensor).copy_(_finite(path, state.rows(name, *own_rows(tensor))))


def _slot(parameter: nn.Parameter, path: Path, state: StateReader, name: str) -> torch.Tensor:
    """A tensor of an optimizer's state, sharded as its parameter if it has the same shape."""
    if state.shape(name) != parameter.shape:
        # Fused AdamW keeps its step count on the parameter's device, too.
        return _finite(path, state.whole(name)).to(parameter.device)
    tensor = torch.zeros_like(parameter)
    _fill(tensor, path, state, name)
    return tensor


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

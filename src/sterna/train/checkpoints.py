"""The last two states of a run, kept so that a damaged one never replaces a good one."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from sterna.checkpoint.state_files import FOLDER, shard_folder
from sterna.errors import FormatError
from sterna.files.local import STATE_FILE
from sterna.train.distributed import largest, process_rank, wait_for_all
from sterna.train.optimizer import Optimizers
from sterna.train.shards import check_files
from sterna.train.state import CONFIG, Saved, changes, check_origin, load_state, read_saved, save_state

PREVIOUS_FILE = "state.previous.safetensors"


@dataclass(frozen=True)
class FoundState:
    """The state from which a run goes on."""

    path: Path
    saved: Saved
    """What the state records."""
    damage: str | None = None
    """A sentence for people, if this is the previous state: what is wrong with the last one."""
    changes: Sequence[str] = ()
    """`section.key OLD -> NEW` for each key of the config whose value differs from that of the run that saved it."""

    @property
    def notes(self) -> list[str]:
        """Sentences for people about what they may not expect."""
        changed = f"The config has changed since step {self.saved.step}: {', '.join(self.changes)}."
        return [*([self.damage] if self.damage else []), *([changed] if self.changes else [])]


@dataclass(frozen=True)
class Checkpoints:
    """The last state in a run's output folder, and the previous one."""

    folder: Path

    @property
    def last(self) -> Path:
        return self.folder / STATE_FILE

    @property
    def previous(self) -> Path:
        return self.folder / PREVIOUS_FILE

    def find(self, origin: Mapping[str, object]) -> FoundState | None:
        """The newest state that is whole; None where there is none. Writes nothing.

        Of several processes, which must all call it, each checks its share of a state's files. Raises FormatError
        where every state is damaged, and where the state is one of another run (`check_origin`).
        """
        damage: FormatError | None = None
        for path in (self.last, self.previous):
            if not largest(path.exists()):
                continue
            saved, own_damage = None, None
            try:
                saved = read_saved(path)
                check_files(path)
            except FormatError as error:
                own_damage = error
            if largest(own_damage is not None) or saved is None:
                damage = damage or own_damage or FormatError(f"{path} is damaged, as another process found.")
                continue
            check_origin(path, saved, origin)
            sentence = None
            if path != self.last:
                reason = f"{self.last} is missing." if damage is None else str(damage)
                sentence = f"{reason} The run goes on from the state before it, of step {saved.step}."
            return FoundState(path, saved, sentence, _config_changes(saved, origin))
        if damage is not None:
            raise damage
        return None

    def resume(
        self, found: FoundState, model: nn.Module, optimizers: Optimizers, origin: Mapping[str, object]
    ) -> dict[str, Any]:
        """Fills `model` and `optimizers` from a state that was found, and makes it the last one, in place of one that
        is damaged; returns what it records of `Guard`. Every process must call it. Raises as `load_state` does."""
        guard = load_state(found.path, model, optimizers, origin).guard
        wait_for_all()
        if process_rank() == 0 and found.path != self.last:
            os.replace(found.path, self.last)
        return guard

    def save(self, model: nn.Module, optimizers: Optimizers, step: int, origin: Mapping[str, object]) -> None:
        """Writes the last state, checks it, and keeps the one that was last as the previous one.

        A kill at any moment leaves at least one whole state under one of the two names.
        """
        save_state(self.last, model, optimizers, step, origin, self._keep)
        if process_rank() == 0:
            self._remove_unused()

    def _keep(self) -> None:
        if self.last.exists():
            os.replace(self.last, self.previous)

    def _remove_unused(self) -> None:
        """Removes the shards of states that are no longer kept, and of those that were not finished."""
        folders = [path for path in self.folder.iterdir() if FOLDER.fullmatch(path.name)]
        if not folders:
            return
        kept = {shard_folder(path, read_saved(path).step) for path in (self.last, self.previous) if path.exists()}
        for folder in set(folders) - kept:
            shutil.rmtree(folder, ignore_errors=True)


def _config_changes(saved: Saved, origin: Mapping[str, object]) -> list[str]:
    if not saved.config:
        return []
    fresh = " (its moments begin anew)"
    lines = changes(saved.config, origin.get(CONFIG, {}))
    return [line + fresh if line.startswith("training.optimizer ") else line for line in lines]

"""The finished layers of a run, kept in a folder beside its target, so that a killed run goes on with the next one.

`job.json` says what is made. `layer-N.safetensors` has the parts of a layer's matrices in the target's format, its
norms, and as metadata how well it did; `inputs-N.safetensors` what goes into layer N. A layer counts as finished once
the inputs of the next are there.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
import torch
from torch import Tensor

from sterna.errors import ArgumentError
from sterna.files.atomic import atomic_write
from sterna.files.safetensors.reader import StoredTensor, read_json, read_metadata, read_safetensors

JOB = "job.json"


class Record:
    """The folder of an unfinished run."""

    def __init__(self, dst: Path, layers: int) -> None:
        self.folder, self._layers = dst.with_name(f"{dst.name}.unfinished"), layers

    def begin(self, job: Mapping[str, Any], force: bool) -> None:
        """Takes what an earlier run of the same job left in the folder, which is there. Raises ArgumentError for what
        another job left; `force` removes it."""
        if (self.folder / JOB).exists() and read_json(self.folder / JOB) == json.loads(json.dumps(job)):
            return
        if (self.folder / JOB).exists() and not force:
            raise ArgumentError(
                f"{self.folder} is an unfinished run with other settings; --force begins anew and removes it."
            )
        for path in (path for kind in ("layer-*", "inputs-*", JOB) for path in self.folder.glob(kind)):
            path.unlink()
        with atomic_write(self.folder / JOB) as file:
            file.write(json.dumps(job, indent=1).encode())

    def finished(self) -> int:
        """How many layers are finished."""
        done = 0
        while done < self._layers and self._layer(done).exists():
            done += 1
        return done if done == self._layers or self._inputs(done).exists() else max(done - 1, 0)

    def keep(
        self, index: int, parts: Mapping[str, np.ndarray], facts: Mapping[str, Any], following: list[Tensor]
    ) -> None:
        """Keeps a finished layer, and the inputs of the next one: those of the quantised model, and the originals if
        the method asks for them."""
        facts_text = {"facts": json.dumps(facts)}
        _write(self._layer(index), {name: np.ascontiguousarray(part) for name, part in parts.items()}, facts_text)
        if index + 1 < self._layers:
            _write(self._inputs(index + 1), {str(at): each.cpu().numpy() for at, each in enumerate(following)}, {})
        self._inputs(index).unlink(missing_ok=True)

    def inputs(self, index: int) -> list[Tensor]:
        """The inputs of a layer, as `keep` got them."""
        stored = read_safetensors(self._inputs(index))
        return [
            torch.from_numpy(stored[str(at)].data.view(np.float32).reshape(stored[str(at)].shape).copy())
            for at in range(len(stored))
        ]

    def parts(self, index: int) -> dict[str, StoredTensor]:
        """The parts of a finished layer by `MATRIX.ENDING`, and its norms."""
        return read_safetensors(self._layer(index))

    def facts(self, index: int) -> dict[str, Any]:
        """How a finished layer did."""
        facts: dict[str, Any] = json.loads(read_metadata(self._layer(index))["facts"])
        return facts

    def remove(self) -> None:
        """Removes the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _layer(self, index: int) -> Path:
        return self.folder / f"layer-{index:05}.safetensors"

    def _inputs(self, index: int) -> Path:
        return self.folder / f"inputs-{index:05}.safetensors"


def _write(path: Path, arrays: Mapping[str, np.ndarray], metadata: dict[str, str]) -> None:
    with atomic_write(path) as file:
        file.write(safetensors.numpy.save(dict(arrays), metadata))

"""`--method imatrix`: which inputs of each matrix are large over a text (`checkpoint/imatrix.py`).

The passes over all windows run side by side, operation by operation, in numpy. So each matrix is decoded once and only
one of them is in memory, beside the activations.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from sterna.checkpoint import Checkpoint, open_checkpoint
from sterna.checkpoint.convert.rotated import turned_back
from sterna.checkpoint.convert.value_heads import in_order
from sterna.checkpoint.imatrix import Sums, write_imatrix
from sterna.errors import ArgumentError, FormatError, OptionError, UnsupportedError
from sterna.model.architectures import build_plan
from sterna.model.operations import Linear, Operation
from sterna.model.oracle import Oracle
from sterna.ptq.calibration import read_calibration
from sterna.ptq.output import check_target
from sterna.ptq.settings import Settings
from sterna.tensor.decode import Values, decode
from sterna.tensor.tensor import Tensor


@dataclass(frozen=True)
class ImportanceReport:
    """What was collected."""

    path: Path
    method: str
    matrices: int
    calibration: dict[str, Any]


def write_importance(
    src: str | os.PathLike[str],
    dst: str | os.PathLike[str],
    settings: Settings,
    calibration: Sequence[Path] = (),
    force: bool = False,
    progress: Callable[[float], None] = lambda share: None,
) -> ImportanceReport:
    """Writes the importance matrix of the model `src` to the GGUF file `dst`. Of the settings only `samples` and
    `length` matter; raises OptionError where another one is not its default. `calibration`: text files; none: the text
    of the package. `progress` is called with shares from 0 to 1. Raises as `collect` does, and ArgumentError for a
    path or text that cannot be used."""
    dst = Path(dst)
    used = Settings(settings.method, samples=settings.samples, length=settings.length)
    for field in fields(settings):
        if getattr(settings, field.name) != getattr(used, field.name):
            raise OptionError(field.name, "has no effect on an importance matrix: leave it out.")
    if dst.suffix.lower() != ".gguf":
        raise ArgumentError(f"{dst} is no name for an importance matrix: it is a GGUF file, whose name ends in .gguf.")
    check_target(os.fspath(src), dst, force)
    source, text = open_checkpoint(src), read_calibration(calibration)
    windows = text.windows(source.tokenizer(), settings.samples, settings.length)
    sums = collect(source, windows.tolist(), progress)
    write_imatrix(dst, sums, list(text.names), *windows.shape)
    described = text.described(windows)
    return ImportanceReport(dst, settings.method, len(sums), described)


class LastDecoded(Mapping[str, Values]):
    """The float32 values of tensors, decoded when they are asked for; the last one is kept."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        self._tensors = tensors
        self._name, self._values = "", np.zeros(0, np.float32)

    def __getitem__(self, name: str) -> np.ndarray:
        if name != self._name:
            self._name, self._values = name, decode(self._tensors[name])
        return self._values

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)


def collect(
    source: Checkpoint, windows: Sequence[Sequence[int]], progress: Callable[[float], None] = lambda share: None
) -> dict[str, Sums]:
    """Sums over the tokens of `windows`, each a pass of its own, by the GGUF name of every matrix, the head's included.

    No input is rounded before it is multiplied. `progress` is called with shares from 0 to 1. Raises as
    `Checkpoint.load` does, UnsupportedError for a ternary model, FormatError for one whose activations are not finite.
    """
    if source.latent:
        raise UnsupportedError(f"{source.path} is a ternary model, and importance matrices are for matrices of floats.")
    model = in_order(turned_back(source), tiled=True).load()
    plan = build_plan(model.config, model.tensors)
    plan.operations[:] = [_in_floats(operation) for operation in plan.operations]
    weights = LastDecoded(model.tensors)
    passes = [Oracle(plan.to_dict(), weights, np.float32).steps(window) for window in windows]
    sums: dict[str, Sums] = {}
    for done, steps in enumerate(zip(*passes, strict=True), 1):
        operation = steps[0].operation
        if isinstance(operation, Linear):
            sums[operation.weight] = _sums(operation.weight, [step.inputs[operation.x] for step in steps])
        if operation.out == plan.output:
            sums[plan.head.weight] = _sums(plan.head.weight, [step.out for step in steps])
        progress(done / len(plan.operations))
    return sums


def _in_floats(operation: Operation) -> Operation:
    return replace(operation, activations="none", group_size=0) if isinstance(operation, Linear) else operation


def _sums(name: str, inputs: Sequence[np.ndarray]) -> Sums:
    squares = np.sum([np.square(rows, dtype=np.float64).sum(axis=0) for rows in inputs], axis=0)
    if not np.isfinite(squares).all():
        raise FormatError(f"The inputs of the matrix {name!r} are not finite.")
    return Sums(squares.astype(np.float32), sum(map(len, inputs)))

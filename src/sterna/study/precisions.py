"""The precisions of a study, as functions from a model to a smaller one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from sterna.ptq.methods import METHODS
from sterna.ptq.run import quantize
from sterna.ptq.settings import Settings

GROUP = 64
"""Columns that share a scale: the models are narrow."""


@dataclass(frozen=True)
class Precision:
    """A row of the table: its name, and what makes it of the float model. `apply(source, target, calibration)` writes
    the folder or file `target`."""

    name: str
    apply: Callable[[Path, Path, Path], object]


def _quantize(settings: Settings, source: Path, target: Path, calibration: Path) -> None:
    quantize(source, target, settings, [calibration])


WANTED = (
    ("INT8 RTN", "rtn", 8),
    ("INT4 RTN", "rtn", 4),
    ("INT4 GPTQ", "gptq", 4),
    ("INT4 AWQ", "awq", 4),
    ("INT4 ParoQuant", "paroquant", 4),
    ("INT3 RTN", "rtn", 3),
    ("INT3 GPTQ", "gptq", 3),
    ("INT2 RTN", "rtn", 2),
    ("INT2 GPTQ", "gptq", 2),
    ("1 bit sign", "sign", 1),
    ("1 bit OneBit", "onebit", 1),
)
"""Name of the row, method of `sterna quantize`, and bits."""


def precisions(samples: int, length: int) -> tuple[list[Precision], list[str]]:
    """The rows whose methods `sterna quantize` has, calibrated on so many windows; and the names of the others."""
    there, missing = [], []
    for name, method, bits in WANTED:
        if method in METHODS and bits in METHODS[method].bits:
            settings = Settings(method, bits, GROUP, samples=samples, length=length)
            there.append(Precision(name, partial(_quantize, settings)))
        else:
            missing.append(name)
    return there, missing

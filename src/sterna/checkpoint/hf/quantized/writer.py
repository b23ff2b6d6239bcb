"""A format that quantised matrices are written in: the parts of a matrix, and what `config.json` says of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

Parts = dict[str, np.ndarray]
"""The tensors of a matrix by the endings of their names; each has the type that the format asks for."""


@dataclass(frozen=True)
class Layout:
    """How all matrices of a model are quantised."""

    bits: float
    group_size: int
    symmetric: bool
    act_order: bool
    """Whether groups are chosen by the size of activations, and are no runs of columns."""


@dataclass(frozen=True)
class Writer:
    """One format of folders. Its reader is in the same file, or in `checkpoint/hf/mlx.py`."""

    name: str
    """As `--format` has it."""
    bits: tuple[float, ...]
    """The widths of codes that it can hold, or what it can be asked for."""
    parts: Callable[[Any], Parts]
    """The parts of a matrix. Raises UnsupportedError where its shape is none of `multiples`."""
    keys: Callable[[Layout], dict[str, Any]]
    """The keys of `config.json` that say how matrices are kept."""
    group_sizes: tuple[int, ...] | None = None
    """The groups that readers of the format take; None: of any size."""
    multiples: Callable[[int], tuple[int, int]] = lambda bits: (1, 1)
    """The numbers of which a matrix's rows and columns must be multiples, by the bits of its codes."""
    takes_index: bool = False
    """Whether groups need not be runs of columns."""

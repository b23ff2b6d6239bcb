"""A way to quantise the matrices of a layer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from sterna.ptq.layers import Layer
from sterna.ptq.settings import Settings


class Matrix(Protocol):
    """A quantised matrix: a dataclass of whole numbers, arrays and None, which a record of a layer can keep."""

    def values(self) -> np.ndarray:
        """What the matrix multiplies its input by, float32 [out, in]."""
        ...


@dataclass(frozen=True)
class Method:
    """One `--method`. It leaves what its codes stand for in the layer's matrices, and may change the layer's norms."""

    name: str
    bits: tuple[float, ...]
    quantize: Callable[[Layer, Settings], Mapping[str, Matrix]]
    """The quantised matrices of a layer by canonical name without `blk.N.` and `.weight`."""
    formats: tuple[str, ...]
    """What it can be written as; the first is the default."""
    in_groups: bool = True
    """Whether columns fall into groups of the size of the settings."""
    has_zeros: bool = False
    """Whether it rounds to the grid of the settings, whose zero points can lie in the middle (`--symmetric`)."""
    originals: bool = False
    """Whether it learns from what the model's own layers give."""

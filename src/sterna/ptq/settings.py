"""What `sterna quantize` is asked for, checked."""

from __future__ import annotations

from dataclasses import dataclass
from math import gcd

from sterna.checkpoint.hf.quantized.writer import Layout
from sterna.errors import OptionError
from sterna.ptq.grid import Grid


@dataclass(frozen=True)
class Settings:
    """How to quantise: the method by name, its grid, and how much calibration text it sees."""

    method: str
    bits: float = 4
    """Bits of a code, a whole number; for LittleBit bits a weight."""
    group_size: int = 128
    symmetric: bool = False
    act_order: bool = False
    """Of GPTQ: columns in the order of their activations' size."""
    pairing: str = "tournament"
    """How ParoQuant pairs columns: `tournament` or `greedy`."""
    epochs: int = 5
    """How often each stage of ParoQuant's learning, and that of AQLM and LittleBit, sees the calibration text."""
    samples: int = 128
    """Windows of calibration text."""
    length: int = 512
    """Tokens of a window."""
    seed: int = 0
    device: str = "cpu"

    def __post_init__(self) -> None:
        """Raises OptionError for numbers that cannot be used."""
        for name in ("group_size", "samples", "length", "epochs"):
            if getattr(self, name) < 1:
                raise OptionError(name, f"is at least 1, not {getattr(self, name)}.")
        if self.act_order and self.method != "gptq":
            raise OptionError("act_order", f"is for --method gptq, not {self.method}.")

    @property
    def grid(self) -> Grid:
        """The grid of the codes."""
        return Grid(int(self.bits), self.group_size, self.symmetric)

    def baseline(self, columns: int) -> Grid:
        """The grid of round-to-nearest, with which a layer's error is compared: it has at least 2 bits, and for
        methods whose columns need not fall into groups its groups are the largest that fit."""
        return Grid(max(int(self.bits), 2), gcd(self.group_size, columns), self.symmetric)

    @property
    def layout(self) -> Layout:
        """How a writer describes the matrices."""
        return Layout(self.bits, self.group_size, self.symmetric, self.act_order)

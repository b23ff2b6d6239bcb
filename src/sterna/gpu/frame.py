"""What a pass reads and writes on the GPU beside weights and caches: its tokens, block tables, slots and rotations.

Everything stays where it is while a pass fits, so that a recorded pass (`graphs.py`) can be replayed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from sterna.gpu.slots import placed
from sterna.model.plan import Plan

BLOCK = 64
"""Positions of a block of keys and values."""
PADDING = 128
"""Whole numbers of a row are padded to a multiple of so many columns."""


@dataclass(frozen=True)
class View:
    """The rows of a slot: `width` numbers from the first of `rows` [tokens, ...] on, `stride` numbers a row."""

    rows: torch.Tensor
    width: int

    @property
    def stride(self) -> int:
        return self.rows.stride(0)


@dataclass(frozen=True)
class Quantized:
    """The rows of a slot in whole numbers, as `row_kernel` makes them."""

    planes: int
    padded: int
    codes: torch.Tensor
    steps: torch.Tensor
    sums: torch.Tensor


def quantized(tokens: int, width: int, activations: str, group: int, device: torch.device) -> Quantized:
    """Buffers for the whole numbers of rows; `activations` and `group` are those of `Linear`."""
    padded = -(-width // PADDING) * PADDING
    planes = 2 if activations == "int15" else 1
    return Quantized(
        planes,
        padded,
        torch.zeros((tokens, planes, padded), dtype=torch.int8, device=device),
        torch.ones((tokens, padded // group if group else 1), device=device),
        torch.zeros((tokens, padded // 32), dtype=torch.int32, device=device),
    )


class Frame:
    """Buffers for passes of one plan. `serial` changes where they have been replaced by larger ones."""

    def __init__(self, plan: Plan, device: torch.device) -> None:
        self.plan, self.device = plan, device
        self.tokens = self.width = self.serial = 0
        self.inputs = self._integers(3, 0)
        self.tables: list[torch.Tensor] = []
        self._views: dict[str, View] = {}
        self._forms: dict[tuple[str, str, int], Quantized] = {}
        self._turns: dict[str, torch.Tensor] = {}
        self._parts: dict[int, torch.Tensor] = {}

    @property
    def ids(self) -> torch.Tensor:
        return self.inputs[0]

    @property
    def positions(self) -> torch.Tensor:
        """Of each token in its sequence; -1 for a token that only fills up a recorded pass."""
        return self.inputs[1]

    @property
    def sequences(self) -> torch.Tensor:
        """The row of the block tables for each token."""
        return self.inputs[2]

    def reserve(self, tokens: int, width: int) -> None:
        """Makes room for passes of `tokens` tokens, and block tables of `width` blocks. Where memory is refused, later
        calls begin anew."""
        if tokens <= self.tokens and width <= self.width:
            return
        grows = tokens > self.tokens
        tokens = -(-tokens // PADDING) * PADDING if grows else self.tokens
        width = max(width, 2 * self.width) if width > self.width else self.width
        self.serial += 1
        # Nothing counts as reserved until all of it is allocated.
        self.tokens, self.tables = 0, []
        if grows:
            self._views, self._forms = {}, {}  # frees the old memory before the new is taken
            self.inputs = self._integers(3, tokens)
            self._views = dict(self._placed(tokens))
        self.tables = [self._integers(tokens, width) for _ in self.plan.caches]
        self.tokens, self.width = tokens, width

    def write(self, inputs: np.ndarray, tables: Sequence[np.ndarray]) -> None:
        """The ids, positions and sequences of a pass, int32 [3, n], and its block tables, int32 [sequences, width]."""
        self.inputs[:, : inputs.shape[1]].copy_(torch.from_numpy(inputs))
        for buffer, table in zip(self.tables, tables, strict=True):
            buffer[: table.shape[0], : table.shape[1]].copy_(torch.from_numpy(table))

    def view(self, slot: str) -> View:
        return self._views[slot]

    def quantized(self, slot: str, activations: str, group: int) -> Quantized:
        """The buffers of a slot's whole numbers."""
        key = slot, activations, group
        if key not in self._forms:
            self._forms[key] = quantized(self.tokens, self.plan.slots[slot], activations, group, self.device)
        return self._forms[key]

    def turns(self, name: str) -> torch.Tensor:
        """Cosines and sines of a list of frequencies, float32 [positions, pairs, 2], of angles in float64."""
        positions = self.width * BLOCK
        if name not in self._turns or len(self._turns[name]) < positions:
            frequencies = torch.tensor(self.plan.frequencies[name], dtype=torch.float64, device=self.device)
            angles = torch.arange(positions, dtype=torch.float64, device=self.device)[:, None] * frequencies
            self._turns[name] = torch.stack([angles.cos().float(), angles.sin().float()], dim=-1).contiguous()
        return self._turns[name]

    def parts(self, size: int) -> torch.Tensor:
        """Room for so many numbers of the parts of an attention, float32."""
        if size not in self._parts:
            self._parts[size] = torch.empty(size, device=self.device)
        return self._parts[size]

    def _placed(self, tokens: int) -> list[tuple[str, View]]:
        found = []
        for names in placed(self.plan):
            widths = [self.plan.slots[name] for name in names]
            rows = torch.zeros((tokens, sum(widths)), device=self.device)
            found += [
                (name, View(part, width))
                for name, part, width in zip(names, rows.split(widths, 1), widths, strict=True)
            ]
        return found

    def _integers(self, *shape: int) -> torch.Tensor:
        return torch.zeros(shape, dtype=torch.int32, device=self.device)

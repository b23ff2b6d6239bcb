"""The interface of a backend, which computes passes: the CPU's engine (`native.py`), or a GPU (`sterna.gpu`)."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from sterna.engine.sampling import SamplingParams

if TYPE_CHECKING:
    from sterna.checkpoint.adapters import LowRank

Hidden = Any
"""The hidden rows of a pass, wherever a backend keeps them."""


@dataclass(frozen=True, eq=False)
class LoadedAdapter:
    """An adapter as a backend has it. `serial`: no other adapter of this process ever has it."""

    name: str
    serial: int
    handle: Any


@dataclass(frozen=True)
class Mix:
    """The adapters that a request runs with, in the order of their names, each with its scale; empty for none."""

    parts: tuple[tuple[LoadedAdapter, float], ...] = ()

    @property
    def salt(self) -> bytes:
        """Bytes that tell it from every other mix; empty for none (`extend_block_keys`)."""
        return b"".join(struct.pack("<Qd", adapter.serial, scale) for adapter, scale in self.parts)


NO_ADAPTER = Mix()


@dataclass(eq=False)
class Span:
    """Some consecutive tokens of one sequence, as a forward pass takes them."""

    token_ids: Sequence[int]
    start: int
    """Position of the first token in the sequence."""
    block_tables: Sequence[Sequence[int]]
    """The sequence's block table in each cache group, up to the span's last position; -1 where no block is needed.

    Then its slots in each state group, one for each block of positions. A block's first token takes the state from the
    slot of the block before: from that slot's rows, or a copy where the slot holds the state of this block. The slots
    of two blocks may be the same. A span may begin up to 8 positions before the end of the last, not before its block.
    """
    outputs: int = 1
    """How many of the last tokens' hidden rows are wanted."""
    mix: Mix = NO_ADAPTER


@dataclass(eq=False)
class RowSampling:
    """How the token after one hidden row is chosen."""

    params: SamplingParams
    seed: int
    step: int
    """How many tokens were chosen before; (seed, step) determines the random number."""
    seen: Sequence[int] = ()
    """Ids of prompt and text, where a penalty needs them."""
    generated: Sequence[int] = ()
    """Ids of the text alone, where a penalty needs them."""
    banned: Sequence[int] = ()
    """Ids that must not be chosen."""
    mask: np.ndarray | None = None
    """Bit i % 32 of word i / 32 (uint32) says whether id i may be chosen; None allows all."""


@dataclass(eq=False)
class Choice:
    """A chosen token; -1 where none may be chosen. `logprob` and `top` are 0 and empty unless they are asked for."""

    token_id: int
    logprob: float = 0.0
    """By the log-softmax of the raw logits."""
    top: Sequence[tuple[int, float]] = ()
    """The most likely ids with their log-probabilities, best first."""


@dataclass(eq=False)
class CachePool:
    """The KV blocks of one cache group: how many there are, and the window that its layers see (None: everything)."""

    blocks: int
    window: int | None


@dataclass(eq=False)
class StatePool:
    """The state slots of one state group: how many there are, and how many may keep the state of a known prefix that no
    sequence uses."""

    slots: int
    most_kept: int


class Backend(Protocol):
    """One model with its weights and KV pools. One thread at a time calls it."""

    block_size: int
    """Positions in a KV block, and in a block of a delta rule."""

    @property
    def pools(self) -> Sequence[CachePool | StatePool]:
        """The KV pools in the order of the plan's cache groups, then the state pools of its state groups."""

    @property
    def block_bytes(self) -> Sequence[int]:
        """Bytes of one block or slot of each of `pools`."""

    def settle(self) -> None:
        """Ends whatever the backend has left for later at its start."""

    def copy(self, pool: int, source: int, target: int) -> None:
        """Copies a block of one of the KV pools."""

    def forward(self, spans: Sequence[Span]) -> Hidden:
        """Computes one pass; returns the hidden rows that the spans want, in their order."""

    def finite(self, hidden: Hidden) -> np.ndarray:
        """For each row whether all its numbers are finite: bool [n]."""

    def select(
        self, hidden: Hidden, rows: Sequence[int], samplings: Sequence[RowSampling], mixes: Sequence[Mix]
    ) -> list[Choice]:
        """A choice for each of the given rows, which have these adapters."""

    def score(self, hidden: Hidden, rows: Sequence[int], targets: np.ndarray, mixes: Sequence[Mix]) -> np.ndarray:
        """For each of the given rows, its target id (int32) and its adapters: float32 [n, 2], the id's
        log-probability by the log-softmax of the raw logits, and 1 where it is the most likely id (the lowest of
        equals), else 0."""

    def to_numpy(self, hidden: Hidden, first: int, last: int) -> np.ndarray:
        """The rows first .. last - 1 as float32 [n, hidden_size]."""

    def logits(self, rows: np.ndarray, mix: Mix = NO_ADAPTER) -> np.ndarray:
        """Logits float32 [n, vocab_size] of float32 rows [n, hidden_size], all with the same adapters."""

    def load_adapter(self, updates: Mapping[str, LowRank]) -> Any:
        """The handle of an adapter (`LoadedAdapter`), for updates of matrices by their canonical names; `output.weight`
        is the head's. It is freed with its last reference. Raises UnsupportedError where there is no memory for it."""

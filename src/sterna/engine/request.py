"""Requests, which the scheduler runs: their base class, and those for hidden rows. Generations: `generation.py`."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from sterna.engine.backend import NO_ADAPTER, Choice, Mix, RowSampling
from sterna.engine.kv_cache import SequenceBlocks

Done = Callable[["Request"], None]
"""Takes a request that has ended. It is called on the engine's thread, and in the child of a fork for the parent's
requests: so it must be quick, must not fork, and must not wait for a lock or for another request."""


@dataclass(eq=False)
class Request(ABC):
    """Tokens to be computed, and the blocks that hold their keys and values."""

    token_ids: list[int]
    done: Done
    mix: Mix = NO_ADAPTER
    blocks: SequenceBlocks = field(default_factory=SequenceBlocks)
    num_computed: int = 0
    """Tokens whose keys and values lie in the blocks."""
    error: BaseException | None = None
    cached_tokens: int | None = None
    """Tokens that came from the prefix cache when the request was first admitted."""
    started: float = 0.0
    """When the request was first admitted: seconds of `time.perf_counter`."""
    submitted: bool = False
    cancelled: bool = False
    background: bool = False
    """Whether nobody waits for it: it is computed in the passes in which no other request has anything to compute."""
    is_copied: bool = False
    """Whether requests come after it that begin like it, up to any token."""
    prompt_tokens: int = field(init=False)
    """Number of tokens that the request was made with."""
    last_turn: int = 0
    """When the request last entered a pass, on a clock that counts the turns of all requests."""

    def __post_init__(self) -> None:
        self.prompt_tokens = len(self.token_ids)
        self.blocks.salt = self.mix.salt

    @property
    @abstractmethod
    def finished(self) -> bool:
        """Whether nothing more is to be computed."""

    @property
    def is_decoding(self) -> bool:
        """Whether the request is to be continued, and all its tokens but the last are computed."""
        return False

    @property
    def reusable(self) -> int:
        """How many of the first tokens may come from the prefix cache, because their hidden rows are not wanted."""
        return len(self.token_ids) - 1

    def began(self, cached_tokens: int) -> None:
        """Records that the request was admitted, with this many tokens from the prefix cache."""
        if self.cached_tokens is None:  # not again after a preemption
            self.cached_tokens, self.started = cached_tokens, time.perf_counter()

    def propose(self, most: int) -> Sequence[int]:
        """Tokens that may come next, at most `most`."""
        return ()

    @abstractmethod
    def outputs(self, start: int, end: int, drafted: int) -> int:
        """How many of the last hidden rows of a pass over tokens start .. end - 1 and a draft are wanted."""

    def samplings(self, draft: Sequence[int]) -> list[RowSampling]:
        """How a token is chosen after each wanted row; empty where the rows themselves are the result."""
        return []

    def targets(self, start: int, end: int) -> np.ndarray | None:
        """Ids (int32), one for each wanted row of a pass over tokens start .. end - 1, whose scores are the result in
        place of the rows; None where the rows are."""
        return None

    @abstractmethod
    def accept(self, choices: Sequence[Choice], draft: Sequence[int], rows: Callable[[], np.ndarray]) -> int:
        """Takes the results of a pass: the chosen tokens up to the first that the draft did not guess, or the rows
        themselves, or the scores of `targets` (`Backend.score`), which `rows` gives in their place. Returns how many
        tokens of the draft were right."""


class HiddenRequest(Request):
    """Hidden rows of one causal pass: of every token, or of those from `first` on."""

    def __init__(self, token_ids: Sequence[int], done: Done, first: int = 0, mix: Mix = NO_ADAPTER) -> None:
        super().__init__(list(token_ids), done, mix)
        self._first, self._taken = first, 0
        self._rows: list[np.ndarray] = []

    @property
    def rows(self) -> np.ndarray:
        """Hidden rows float32 [n, hidden_size] of all wanted tokens."""
        return np.concatenate(self._rows)

    @property
    def finished(self) -> bool:
        return self.error is not None or self._first + self._taken == len(self.token_ids)

    @property
    def reusable(self) -> int:
        return self._first

    def _wanted(self, start: int) -> int:
        """The first token from `start` on whose row is wanted. Rows that are computed again after a preemption were
        taken the first time."""
        return max(start, self._first + self._taken)

    def outputs(self, start: int, end: int, drafted: int) -> int:
        return max(0, end - self._wanted(start))

    def accept(self, choices: Sequence[Choice], draft: Sequence[int], rows: Callable[[], np.ndarray]) -> int:
        self._rows.append(rows())
        self._taken += len(self._rows[-1])
        return 0


class ScoreRequest(HiddenRequest):
    """The scores of the tokens from `first` on, each after all before it: `rows` is float32 [n, 2], the log-probability
    in nats, and 1 where the token is the most likely one, else 0.

    `first` is at least 1. The last token is not computed, for nothing comes after it; those before `first - 1` may come
    from the prefix cache.
    """

    def __init__(self, token_ids: Sequence[int], first: int, done: Done, mix: Mix = NO_ADAPTER) -> None:
        super().__init__(token_ids[:-1], done, first - 1, mix)
        self._ids = np.array(token_ids, np.int32)

    def targets(self, start: int, end: int) -> np.ndarray:
        return self._ids[self._wanted(start) + 1 : end + 1]

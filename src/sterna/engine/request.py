"""What the scheduler runs: tokens to be computed. A prompt to be continued is in `generation.py`."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from sterna.engine.backend import Choice, RowSampling
from sterna.engine.kv_cache import SequenceBlocks

Done = Callable[["Request"], None]
"""Takes a request that nothing more will come of, on the thread that steps."""


@dataclass(eq=False)
class Request(ABC):
    """Tokens to be computed, and the blocks that hold their keys and values."""

    token_ids: list[int]
    done: Done
    adapter_id: int = 0
    blocks: SequenceBlocks = field(default_factory=SequenceBlocks)
    num_computed: int = 0
    """Tokens whose keys and values lie in the blocks."""
    error: BaseException | None = None
    cached_tokens: int | None = None
    """Tokens that came from the prefix cache when it was first admitted."""
    started: float = 0.0
    """When that was, in seconds."""
    last_turn: int = 0
    """When it last had a token in a pass, counted in turns of all requests."""

    @property
    @abstractmethod
    def finished(self) -> bool:
        """Whether nothing more is to be computed."""

    @property
    def is_decoding(self) -> bool:
        """Whether all tokens but the last are computed, and it is there to be continued."""
        return False

    @property
    def needs_every_row(self) -> bool:
        """Whether hidden rows of all tokens are wanted, so that none can come from the prefix cache."""
        return False

    def began(self, cached_tokens: int) -> None:
        """Notes that the request was admitted, with so many tokens from the prefix cache."""
        if self.cached_tokens is None:  # not after a preemption
            self.cached_tokens, self.started = cached_tokens, time.perf_counter()

    def propose(self, most: int) -> Sequence[int]:
        """Tokens that may come next, at most `most`."""
        return ()

    @abstractmethod
    def outputs(self, start: int, end: int, drafted: int) -> int:
        """How many of the last tokens of a pass over start .. end - 1 and a draft have a hidden row of use."""

    def samplings(self, draft: Sequence[int]) -> list[RowSampling]:
        """How a token is chosen after each of these rows; none where the rows themselves are wanted."""
        return []

    @abstractmethod
    def accept(self, choices: Sequence[Choice], draft: Sequence[int], rows: Callable[[], np.ndarray]) -> int:
        """Takes what came of a pass: the tokens chosen, as long as the draft agrees, or the rows themselves; how much
        of the draft was right."""


class HiddenRequest(Request):
    """Hidden rows of one causal pass: of every token, or of the last alone."""

    def __init__(self, token_ids: Sequence[int], done: Done, every: bool = True) -> None:
        super().__init__(list(token_ids), done)
        self._every, self._taken = every, 0
        self._rows: list[np.ndarray] = []

    @property
    def rows(self) -> np.ndarray:
        """float32 [n, hidden_size], of all tokens or of the last."""
        return np.concatenate(self._rows)

    @property
    def finished(self) -> bool:
        return self.error is not None or self._taken == (len(self.token_ids) if self._every else 1)

    @property
    def needs_every_row(self) -> bool:
        return self._every

    def outputs(self, start: int, end: int, drafted: int) -> int:
        # What is computed once more after a preemption has been taken before.
        return max(0, end - max(start, self._taken)) if self._every else int(end == len(self.token_ids))

    def accept(self, choices: Sequence[Choice], draft: Sequence[int], rows: Callable[[], np.ndarray]) -> int:
        self._rows.append(rows())
        self._taken += len(self._rows[-1])
        return 0

"""Reports to waiting callers how much of their prompts is computed."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from typing import TypeVar

from sterna.engine.request import Request

E = TypeVar("E")

Progress = Callable[[float], None]
"""Takes the share of the prompts' tokens that have been computed, from 0 to 1; called on the caller's own thread."""

SECONDS = 0.1
"""Time between two reports."""


class Waiting:
    """Waits for the events of some requests. Meanwhile it reports to `progress`, if that is given."""

    def __init__(self, requests: Sequence[Request], progress: Progress | None) -> None:
        self._requests, self._progress = requests, progress
        self._due = 0.0
        self._share = 0.0

    def next(self, events: SimpleQueue[E]) -> E:
        """The next event."""
        while self._progress is not None:
            now = time.monotonic()
            if now >= self._due:
                self._due = now + SECONDS
                self._progress(self._computed())
            try:
                return events.get(timeout=max(0.0, self._due - time.monotonic()))
            except Empty:
                pass
        return events.get()

    def over(self) -> None:
        """Reports that all prompts are computed."""
        if self._progress is not None:
            self._progress(1.0)

    def _computed(self) -> float:
        total = sum(request.prompt_tokens for request in self._requests)
        done = sum(min(request.num_computed, request.prompt_tokens) for request in self._requests)
        # A preempted request is computed again, but the reported share never falls.
        self._share = max(self._share, done / max(total, 1))
        return self._share

"""An engine whose passes take long enough for something to happen in the middle."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tests.server.conftest import Running

STEP = 0.05
"""Seconds of a pass."""


@contextmanager
def slow(served: Running, fail: Callable[[int], bool] = lambda count: False) -> Iterator[None]:
    """Passes that take `STEP` seconds, and that raise an error where `fail` of their number says so."""
    backend = served.llm._loop.backend
    forward, count = backend.forward, 0

    def slowly(spans: Any) -> Any:
        nonlocal count
        count += 1
        time.sleep(STEP)
        if fail(count):
            raise RuntimeError("The engine broke.")
        return forward(spans)

    backend.forward = slowly  # type: ignore[method-assign]
    try:
        yield
    finally:
        del backend.forward  # type: ignore[method-assign]

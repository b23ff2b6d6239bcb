"""What Ctrl-C (SIGINT), SIGTERM, SIGHUP and, on Windows, Ctrl-Break do: the command cleans up and exits with 128 + the
signal's number.

A signal that the caller has ignored (`nohup`, `&` in a script) stays ignored. This file is imported before anything
else, so it imports nothing large.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK") if hasattr(signal, name)]
ECHO_SECONDS = 1.0
"""A closing terminal and some launchers send a signal twice. A second one within this time is ignored, so that it does
not interrupt the cleaning up."""


class Terminated(KeyboardInterrupt):
    """Another signal than Ctrl-C came: the command is to end, also where Ctrl-C ends less than that."""


def exit_at_once() -> None:
    """Lets a signal end the process at once. This is for the time before a command has begun and after it has ended,
    when there is nothing to clean up."""

    def leave(number: int, frame: FrameType | None) -> None:
        os._exit(128 + number)

    _handle(leave)


@contextmanager
def as_exceptions() -> Iterator[None]:
    """In the block a signal raises KeyboardInterrupt (`Terminated`, but for Ctrl-C), so that temporary files are
    removed. At the end of the block an interrupted process exits with the signal's status, whatever error the
    interruption caused. It does not wait for threads."""
    status, last = 0, -ECHO_SECONDS

    def interrupt(number: int, frame: FrameType | None) -> None:
        nonlocal status, last
        echo = time.monotonic() - last < ECHO_SECONDS
        last = time.monotonic()
        status = status or 128 + number
        if not echo:
            raise KeyboardInterrupt if number == signal.SIGINT else Terminated

    _handle(interrupt)
    try:
        yield
    finally:
        exit_at_once()
        if status:
            for stream in (sys.stdout, sys.stderr):
                with suppress(OSError, ValueError, AttributeError):
                    stream.flush()
            os._exit(status)


def _handle(handler: Callable[[int, FrameType | None], None]) -> None:
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, handler)

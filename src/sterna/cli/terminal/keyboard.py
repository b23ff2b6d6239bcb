"""The keyboard while the model writes: Ctrl-C stops the answer, other keys wait for the next message."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType


@contextmanager
def on_ctrl_c(handle: Callable[[], None]) -> Iterator[None]:
    """In the block Ctrl-C calls `handle`, wherever the program is; where Ctrl-C is ignored it stays so."""
    before = signal.getsignal(signal.SIGINT)
    if before is signal.SIG_IGN:
        yield
        return

    def handler(number: int, frame: FrameType | None) -> None:
        handle()

    signal.signal(signal.SIGINT, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def no_echo() -> Iterator[None]:
    """In the block the terminal does not show what is typed, which would get into the middle of the answer."""
    if sys.platform == "win32":  # shows what is typed only while a program reads
        yield
    else:
        import termios

        descriptor = sys.stdin.fileno()
        before = termios.tcgetattr(descriptor)
        quiet = list(before)
        quiet[3] &= ~termios.ECHO
        termios.tcsetattr(descriptor, termios.TCSADRAIN, quiet)
        try:
            yield
        finally:
            with suppress(termios.error):
                termios.tcsetattr(descriptor, termios.TCSADRAIN, before)

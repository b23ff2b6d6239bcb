"""A program in a terminal of 24 lines of 80 columns, as tests see and use it."""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

import pexpect
import pyte
from pyte.screens import Char

SECONDS = 60.0
"""How long a test waits at most for what it expects."""


class Terminal:
    """Runs `sterna` with these arguments, or a line of bash in which `sterna` is the command. `text` has the lines that
    are seen, `raw` all that was written."""

    def __init__(self, *arguments: str, home: Path, line: str = "", term: str = "xterm-256color", **more: str):
        environment = {**os.environ, "TERM": term, "XDG_STATE_HOME": str(home), "HOME": str(home), **more}
        for name in ("NO_COLOR", "COLUMNS", "LINES", "FORCE_COLOR"):
            if name not in more:
                environment.pop(name, None)
        command = [sys.executable, "-m", "sterna", *arguments]
        if line:
            command = ["bash", "-c", f'sterna() {{ {sys.executable} -m sterna "$@"; }}; {line}']
        self._process = pexpect.spawn(command[0], command[1:], env=environment, dimensions=(24, 80), timeout=SECONDS)
        self._screen = pyte.HistoryScreen(80, 24, history=10_000, ratio=1)
        self._stream = pyte.ByteStream(self._screen)
        self.raw = b""

    def __enter__(self) -> Terminal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.close(force=True)

    @property
    def text(self) -> str:
        """The lines that were scrolled away and those of the screen, without the spaces at their ends."""
        above = ["".join(line[x].data for x in range(self._screen.columns)) for line in self._screen.history.top]
        return "\n".join(line.rstrip() for line in [*above, *self._screen.display]).rstrip()

    @property
    def cells(self) -> list[list[Char]]:
        """The characters of the screen with their colours, line by line."""
        return [[self._screen.buffer[y][x] for x in range(self._screen.columns)] for y in range(self._screen.lines)]

    def type(self, keys: str) -> None:
        """Presses keys."""
        self._process.send(keys)

    def signal(self, number: int) -> None:
        """Sends a signal to the program."""
        self._process.kill(number)

    def wait_for(self, pattern: str, times: int = 1) -> None:
        """Waits until a pattern is found so many times in the text, and fails after `SECONDS`."""
        self.wait_until(lambda: len(re.findall(pattern, self.text, re.M)) >= times, f"{times} times {pattern!r}")

    def wait_until(self, is_there: Callable[[], bool], what: str) -> None:
        """Waits until a condition holds."""
        deadline = time.monotonic() + SECONDS
        while not is_there():
            assert time.monotonic() < deadline, f"no {what} in:\n{self.text}"
            assert self._read(), f"the program ended without {what}:\n{self.text}"

    def wait(self) -> int:
        """Waits until the program has ended, and returns its exit status; -N where signal N ended it."""
        deadline = time.monotonic() + SECONDS
        while self._read():
            assert time.monotonic() < deadline, f"the program does not end:\n{self.text}"
        self._process.wait()
        return self._process.exitstatus if self._process.exitstatus is not None else -self._process.signalstatus

    def _read(self) -> bool:
        """Shows what the program has written, and answers where it asks for the cursor; False at the end."""
        try:
            data = self._process.read_nonblocking(1 << 16, timeout=0.05)
        except pexpect.TIMEOUT:
            return True
        except pexpect.EOF:
            return False
        self.raw += data
        for part in re.split(rb"(\x1b\[6n)", data):
            if part == b"\x1b[6n":
                cursor = self._screen.cursor
                self._process.send(f"\x1b[{cursor.y + 1};{cursor.x + 1}R")
            else:
                self._stream.feed(part)
        return True

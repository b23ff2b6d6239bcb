"""The progress of a training run on stderr."""

from __future__ import annotations

import shutil
import sys
from typing import Any

from sterna.cli.visible import visible


class LiveLine:
    """Lines of progress on stderr, and below them, in a terminal, one that is written over after every step."""

    def __init__(self) -> None:
        self._shown = False

    def say(self, line: str) -> None:
        """Prints a line that stays."""
        self.clear()
        print(visible(line), file=sys.stderr, flush=True)

    def show(self, record: Any) -> None:
        """Writes over the live line with a `step` record."""
        from sterna.train.watch.lines import progress

        columns = shutil.get_terminal_size().columns
        text = f"step {record['step']} {progress(record)}"[: columns - 1]
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)
        self._shown = True

    def clear(self) -> None:
        """Removes the live line."""
        if self._shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
            self._shown = False

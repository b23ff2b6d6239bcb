"""Large files that the system keeps in huge pages from the moment they are written."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

HUGE_PAGE = 1 << 21
"""Bytes; x86-64, and AArch64 with pages of 4 kB."""


class HugePageWriter(io.BufferedWriter):
    """A new file at `path`, given to the system in whole pages of 2 MiB.

    Linux caches what is written in pages as large as a single write fills (ext4 from 6.16 on) and maps them as they
    are: a model that was just converted loads and runs a little faster (docs/converting.md). Raises OSError.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(io.FileIO(path, "w"), HUGE_PAGE)
        self._room = HUGE_PAGE  # up to the next page

    def write(self, data: ReadableBuffer, /) -> int:
        rest = memoryview(data).cast("B")
        size = len(rest)
        while rest:
            done = super().write(rest[: self._room])
            rest = rest[done:]
            self._room = self._room - done or HUGE_PAGE
        return size

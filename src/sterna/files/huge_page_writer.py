"""Writes large files in such a way that the system caches them in huge pages."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

HUGE_PAGE = 1 << 21
"""Bytes of a huge page of x86-64, and of AArch64 with pages of 4 kB."""


class HugePageWriter(io.BufferedWriter):
    """A new file at `path`, written in whole pages of 2 MiB.

    Linux caches each write in pages as large as that write fills (ext4 from 6.16 on) and maps them at that size: a
    model that was just converted loads and runs a little faster (docs/converting.md). Raises OSError.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(io.FileIO(path, "w"), HUGE_PAGE)
        self._room = HUGE_PAGE  # bytes up to the next page

    def write(self, data: ReadableBuffer, /) -> int:
        rest = memoryview(data).cast("B")
        size = len(rest)
        while rest:
            done = super().write(rest[: self._room])
            rest = rest[done:]
            self._room = self._room - done or HUGE_PAGE
        return size

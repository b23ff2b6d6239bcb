"""UTF-8 text from files and pipes, in parts, so that memory does not grow with it."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import IO

PART = 1 << 16
"""Characters of a part, at most."""


def open_text(file: IO[bytes]) -> io.TextIOWrapper:
    """The text of UTF-8 bytes, line ends as they are; a byte order mark at the beginning is passed over."""
    return io.TextIOWrapper(file, encoding="utf-8-sig", newline="\n")


def parts(file: io.TextIOWrapper) -> Iterator[str]:
    """All that is left of a text, in parts. Raises UnicodeDecodeError where it is no UTF-8."""
    while part := file.read(PART):
        yield part


def line_parts(file: io.TextIOWrapper) -> Iterator[str]:
    """As `parts`, cut after each line end."""
    while part := file.readline(PART):
        yield part

"""UTF-8 text from files and pipes, in parts, so that memory does not grow with it."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import IO

PART = 1 << 16
"""The most characters in a part."""


def open_text(file: IO[bytes]) -> io.TextIOWrapper:
    """The text of UTF-8 bytes, its line ends unchanged; a byte order mark at the beginning is skipped."""
    return io.TextIOWrapper(file, encoding="utf-8-sig", newline="\n")


def parts(file: io.TextIOWrapper) -> Iterator[str]:
    """The rest of a text, in parts of at most `PART` characters. Raises UnicodeDecodeError where it is not UTF-8."""
    while part := file.read(PART):
        yield part


def line_parts(file: io.TextIOWrapper) -> Iterator[str]:
    """As `parts`, and each part ends at a line end at the latest."""
    while part := file.readline(PART):
        yield part


def whole_characters(text: str) -> str:
    """The text, with U+FFFD for each half of a surrogate pair: terminals and JSON can give such, UTF-8 has none."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")

"""Reads corpus files part by part, so that memory does not grow with them, and finds where their documents end."""

from __future__ import annotations

import lzma
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path

from sterna.errors import ArgumentError, reason
from sterna.files.text import PART, line_parts, open_text
from sterna.train.sources import Rows

END_OF_TEXT = "<|endoftext|>"
_BLANKS = " \t\r\n\f\v\u00a0\ufeff"
_INSIDE_A_LINE = re.compile(re.escape(END_OF_TEXT) + r"(?:[ \t]*\r?\n)?")
_BEGINNINGS = tuple(END_OF_TEXT[:length] for length in range(len(END_OF_TEXT) - 1, 0, -1))

Report = Callable[[str], None]
"""Receives a line of progress or a warning, for people."""
Progress = Callable[[float], None]
"""Receives the share of the files' bytes that has been read, 0 to 1."""


def document_parts(
    sources: Sequence[Path | Rows], report: Report = lambda line: None, progress: Progress = lambda share: None
) -> Iterator[Iterator[str]]:
    """The documents of UTF-8 text files (.xz is unpacked) and of rows, none of them empty. Each comes in parts of at
    most 64k characters, which must be read before the next document. Raises ArgumentError for files that cannot be
    read, UnsupportedError where a package that reads them is missing.

    A row is a document. In text files, the first `<|endoftext|>` of a file decides how its documents are separated. If
    it stands alone in its line (blanks may surround it), such lines are separators, and `<|endoftext|>` inside a line
    is text, which is reported. If it stands inside a line, it is a separator everywhere. Byte order marks are skipped.
    """
    sizes = [_size(source) for source in sources]
    for index, source in enumerate(sources):
        before = sum(sizes[:index])

        def read(size: int, before: int = before) -> None:
            progress((before + size) / max(sum(sizes), 1))

        if isinstance(source, Rows):
            pieces = _parted(source.texts(read))
        else:
            pieces = _separated(_lines(source, read), source, report)
        for is_separator, parts in groupby(pieces, lambda part: part is None):
            if not is_separator:
                yield parts  # type: ignore[misc]


def _size(source: Path | Rows) -> int:
    """Bytes; 0 where it is not known."""
    if isinstance(source, Rows):
        return source.size
    return source.stat().st_size if source.is_file() else 0


def _parted(texts: Iterable[str]) -> Iterator[str | None]:
    """Texts in parts, none of them empty, and None after each text."""
    for text in texts:
        yield from (text[start : start + PART] for start in range(0, len(text), PART))
        yield None


def _lines(path: Path, read: Callable[[int], None]) -> Iterator[str]:
    """A file's lines, long ones in parts; `read` receives how many bytes of the file have been read."""
    try:
        with open(path, "rb") as raw, open_text(lzma.open(raw) if path.suffix == ".xz" else raw) as file:
            for line in line_parts(file):
                yield line
                read(raw.tell())
    except (OSError, ValueError, lzma.LZMAError, EOFError) as error:
        raise ArgumentError(f"Cannot read the text file {path}: {reason(error)}.") from error


def _separated(lines: Iterable[str], path: Path, report: Report) -> Iterator[str | None]:
    """The lines without their separators: parts of text, none of them empty, and None for each separator."""
    by_lines: bool | None = None
    at_start, held, reported = True, "", False
    for line in lines:
        if at_start:
            line = line.removeprefix("\ufeff")
            if by_lines is not False and line.strip(_BLANKS) == END_OF_TEXT:
                by_lines = True
                yield None
                continue
        at_start = line.endswith("\n")
        text = held + line
        held = "" if at_start else next((part for part in _BEGINNINGS if text.endswith(part)), "")
        text = text.removesuffix(held)
        if END_OF_TEXT in text and by_lines:
            if not reported:
                report(
                    f"{path} has {END_OF_TEXT} inside a line, which is kept as text: the file separates its documents "
                    "by lines that hold nothing else."
                )
            reported = True
        elif END_OF_TEXT in text:
            by_lines = False
            *ended, text = _INSIDE_A_LINE.split(text)
            for piece in ended:
                yield from (piece, None) if piece else (None,)
        if text:
            yield text
    if held:
        yield held

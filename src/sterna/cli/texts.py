"""The texts that verbs take: prompts and files."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from sterna.errors import ArgumentError, ContextLengthError, FormatError, NotFoundError, OptionError

STDIN = "-"
"""The name of a file that means standard input."""

MAX_PROMPT_BYTES = 1 << 26
"""More than any context holds. A longer prompt (a pipe that never ends) is not read to its end."""

_ESCAPE = re.compile(rb"\\(?:x[0-9A-Fa-f]{2}|[nrt\\\"'])")
_MEANINGS = {b"n": b"\n", b"r": b"\r", b"t": b"\t"}


def read_prompt(prompt: str | None, file: Path | None, escape: bool) -> str:
    """The prompt from -p, a file or stdin. If `escape`, escapes in the text of -p mean what they mean in llama.cpp. The
    text of a file or of stdin is taken as it is, but for a BOM and for one newline at its end, which editors put there.

    Raises `ArgumentError` where it was given twice or was not given, and what `read_text` raises.
    """
    if prompt is not None and file is not None:
        raise ArgumentError("Give the prompt with -p or with -f, not with both.")
    if prompt is not None:
        return argument_text(prompt, "-p/--prompt", escape)
    if file is None and (sys.stdin is None or sys.stdin.isatty()):
        raise ArgumentError("There is no prompt: give one with -p TEXT, -f FILE or on stdin.")
    text = read_text(Path(STDIN) if file is None else file)
    return text[: -2 if text.endswith("\r\n") else -1] if text.endswith("\n") else text


def argument_text(text: str, flag: str, escape: bool) -> str:
    """The value of a flag. If `escape`, `\\n \\r \\t \\\\ \\' \\"` and `\\xHH` (a byte) become what they mean in C; any
    other backslash stays.

    Raises `OptionError`, naming the flag, where the bytes are not UTF-8.
    """
    data = text.encode("utf-8", "surrogateescape")  # the bytes that the shell gave
    try:
        return (_ESCAPE.sub(_meaning, data) if escape else data).decode("utf-8")
    except UnicodeDecodeError:
        raise OptionError(flag, "is not UTF-8 text.") from None


def _meaning(escape: re.Match[bytes]) -> bytes:
    kind = escape[0][1:2]
    return bytes([int(escape[0][2:], 16)]) if kind == b"x" else _MEANINGS.get(kind, kind)


def read_text(path: Path) -> str:
    """The text of a UTF-8 file, or of stdin for `-`. Line ends stay as they are; a byte order mark at the beginning is
    left out. Raises what `open_file` and `reading` raise, and `ContextLengthError` for more than `MAX_PROMPT_BYTES`."""
    with open_file(path) as file, reading(path):
        data = file.read(MAX_PROMPT_BYTES + 1)
        if len(data) > MAX_PROMPT_BYTES:
            raise ContextLengthError(f"{_name(path)} is longer than any context has room for; shorten the prompt.")
        return data.decode("utf-8-sig")


def open_file(path: Path) -> IO[bytes]:
    """A file, or stdin for `-`, opened to read bytes. Raises `NotFoundError` where it cannot be opened."""
    if str(path) != STDIN:
        with reading(path):
            return open(path, "rb")
    if sys.stdin is None:
        raise NotFoundError("stdin cannot be read: it is closed.")
    return sys.stdin.buffer


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """In the block a file, or stdin for `-`, is read: raises `NotFoundError` where that fails, and `FormatError` for
    bytes that are not UTF-8."""
    try:
        yield
    except OSError as error:
        raise NotFoundError(f"{_name(path)} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise FormatError(f"{_name(path)} is not UTF-8 text.") from None


def _name(path: Path) -> str:
    return "stdin" if str(path) == STDIN else str(path)

"""Texts that verbs are given: prompts and files."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from sterna.errors import ArgumentError, ContextLengthError, FormatError, NotFoundError, OptionError

STDIN = "-"
"""What stands for standard input where a file is named."""

MAX_PROMPT_BYTES = 1 << 26
"""More than any context holds: what is longer (a pipe that never ends) is not read to its end."""

_ESCAPE = re.compile(rb"\\(?:x[0-9A-Fa-f]{2}|[nrt\\\"'])")
_MEANINGS = {b"n": b"\n", b"r": b"\r", b"t": b"\t"}


def read_prompt(prompt: str | None, file: Path | None, escape: bool) -> str:
    """The prompt from wherever it was given. In that of -p escapes mean what they mean to llama.cpp, if `escape`; from
    a file or stdin comes the text as it is, without a BOM and without the newline at its end, which editors put there.

    Raises `ArgumentError` where it was given twice or not at all, and what `read_text` raises.
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
    """The text that a flag was given. If `escape`, `\\n \\r \\t \\\\ \\' \\"` and `\\xHH` (a byte) become what they
    mean; any other backslash stays.

    Raises `OptionError`, naming the flag, where the bytes are not UTF-8.
    """
    data = text.encode("utf-8", "surrogateescape")  # what the shell gave
    try:
        return (_ESCAPE.sub(_meaning, data) if escape else data).decode("utf-8")
    except UnicodeDecodeError:
        raise OptionError(flag, "is not UTF-8 text.") from None


def _meaning(escape: re.Match[bytes]) -> bytes:
    kind = escape[0][1:2]
    return bytes([int(escape[0][2:], 16)]) if kind == b"x" else _MEANINGS.get(kind, kind)


def read_text(path: Path) -> str:
    """The text of a UTF-8 file, or of stdin for `-`; line ends are as they are, a byte order mark at the beginning is
    passed over. Raises as `as_text`, and `NotFoundError` where it cannot be read."""
    if str(path) != STDIN:
        try:
            with open(path, "rb") as file:
                return as_text(file.read(MAX_PROMPT_BYTES + 1), str(path))
        except OSError as error:
            raise NotFoundError(f"{path} cannot be read: {error.strerror}.") from None
    if sys.stdin is None:
        raise NotFoundError("stdin cannot be read: it is closed.")
    try:
        return as_text(sys.stdin.buffer.read(MAX_PROMPT_BYTES + 1), "stdin")
    except OSError as error:
        raise NotFoundError(f"stdin cannot be read: {error.strerror}.") from None


def as_text(data: bytes, name: str) -> str:
    """UTF-8 bytes as text. Raises `FormatError`, naming `name`, for other bytes, `ContextLengthError` for more than
    `MAX_PROMPT_BYTES`."""
    if len(data) > MAX_PROMPT_BYTES:
        raise ContextLengthError(f"{name} is longer than any context has room for; shorten the prompt.")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise FormatError(f"{name} is not UTF-8 text.") from None

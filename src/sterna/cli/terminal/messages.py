"""Messages in plain lines: from a pipe, or typed where the terminal knows no escape sequences."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from sterna.cli.texts import MAX_PROMPT_BYTES, STDIN, open_file, reading
from sterna.errors import ContextLengthError

PROMPT, MORE = ">>> ", "... "
QUOTES = '"""'
"""Begin and end a message of several lines."""


def piped() -> Iterator[str]:
    """The lines of stdin, each a message; empty ones are passed over. Raises `FormatError` where they are not UTF-8,
    `ContextLengthError` for a line that no context holds."""
    file, encoding = open_file(Path(STDIN)), "utf-8-sig"
    while True:
        with reading(Path(STDIN)):
            line = file.readline(MAX_PROMPT_BYTES + 1)
            text = line.decode(encoding).rstrip("\r\n")
        if not line:
            return
        if len(line) > MAX_PROMPT_BYTES:
            raise ContextLengthError("A line of stdin is longer than any context has room for; shorten it.")
        encoding = "utf-8"
        if text.strip():
            yield text


def typed() -> str:
    """A message that is typed at a plain terminal. Raises EOFError at Ctrl-D, KeyboardInterrupt at Ctrl-C."""
    text = _line(PROMPT)
    while is_open(text):
        text += "\n" + _line(MORE)
    return unquoted(text)


def is_open(text: str) -> bool:
    """Whether this is the beginning of a message in quotes."""
    return text.startswith(QUOTES) and not (len(text) >= 2 * len(QUOTES) and text.rstrip().endswith(QUOTES))


def unquoted(text: str) -> str:
    """A message without the quotes around it."""
    if not text.startswith(QUOTES) or is_open(text):
        return text
    return text.rstrip()[len(QUOTES) : -len(QUOTES)].strip("\n")


def _line(prompt: str) -> str:
    # On stderr: stdout may be a file, which gets the answers alone.
    print(prompt, end="", file=sys.stderr, flush=True)
    try:
        return input()
    except (EOFError, KeyboardInterrupt):
        print(file=sys.stderr)
        raise

"""Standard input, output and error in any state: closed, full, in an encoding that lacks characters of a text, or with
a reader that has gone."""

from __future__ import annotations

import io
import os
import sys
from errno import EBADF
from typing import TextIO

from sterna.cli.visible import visible
from sterna.errors import SternaError


class OutputError(SternaError):
    """Nothing more can be written to standard output."""

    def __init__(self, error: OSError) -> None:
        reason = "it is closed" if error.errno == EBADF else error.strerror
        super().__init__(f"Cannot write to standard output: {reason}.")
        self.reader_left = isinstance(error, BrokenPipeError)


class Output(io.TextIOWrapper):
    """Standard output. Its errors are `OutputError`, so they differ from errors of other files."""

    def write(self, text: str, /) -> int:
        try:
            return super().write(text)
        except OSError as error:
            raise OutputError(error) from None

    def flush(self) -> None:
        try:
            super().flush()
        except OSError as error:
            raise OutputError(error) from None


def prepare_streams() -> None:
    """Opens the standard streams that are closed, so that no other file gets their descriptors. A character that an
    output's encoding lacks is written as `?`."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            # `open` takes the lowest free descriptor, which is this one. As for a closed one, writing to 1 fails.
            os.open(os.devnull, os.O_RDONLY if descriptor < 2 else os.O_RDWR)
    if sys.stdout is None or type(sys.stdout) is io.TextIOWrapper:  # not one that a host program has replaced
        sys.stdout = _output(sys.stdout)
    if sys.stderr is None:
        sys.stderr = open(2, "w", errors="replace", closefd=False)
    elif isinstance(sys.stderr, io.TextIOWrapper):
        sys.stderr.reconfigure(encoding=_encoding(sys.stderr), errors="replace")
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(encoding=_encoding(sys.stdin))


def give_up_output() -> None:
    """Redirects standard output to the null device: Python writes its buffer at exit, and would fail again."""
    _redirect_to_null(1)


def write_text(text: str) -> None:
    """Writes text that a model made to stdout, at once. A terminal shows its control characters as pictures; a file or
    a pipe gets the text as it is."""
    print(_shown(text, sys.stdout), end="", flush=True)


def say(line: str) -> None:
    """Prints a line on stderr; a terminal shows control characters in it as pictures. Where printing fails there is no
    place left to report it, so the line is dropped."""
    try:
        print(_shown(line, sys.stderr), file=sys.stderr, flush=True)
    except OSError:
        _redirect_to_null(2)


def file_sentence(error: OSError) -> str:
    """One sentence for an error of the operating system, with the file that it is about, where it names one."""
    reason = error.strerror or error
    return f"{error.filename}: {reason}." if error.filename else f"{reason}."


def _shown(text: str, stream: TextIO) -> str:
    return visible(text) if stream.isatty() else text


def _output(stream: io.TextIOWrapper | None) -> Output:
    if stream is None:
        return Output(open(1, "wb", closefd=False), encoding="utf-8", errors="replace")
    encoding, lines, through = _encoding(stream), stream.line_buffering, stream.write_through
    return Output(stream.detach(), encoding=encoding, errors="replace", line_buffering=lines, write_through=through)


def _encoding(stream: io.TextIOWrapper) -> str:
    """The encoding of a stream, which its user has chosen; Windows would choose one that few languages fit in."""
    return "utf-8" if sys.platform == "win32" else stream.encoding


def _redirect_to_null(descriptor: int) -> None:
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, descriptor)
    os.close(null)

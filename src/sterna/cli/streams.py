"""Standard input, output and error as the world may have left them: closed, full, without the characters of a text, or
with a reader that has gone."""

from __future__ import annotations

import io
import os
import sys
from errno import EBADF

from sterna.errors import SternaError


class OutputError(SternaError):
    """Standard output takes nothing more."""

    def __init__(self, error: OSError) -> None:
        reason = "it is closed" if error.errno == EBADF else error.strerror
        super().__init__(f"Cannot write to standard output: {reason}.")
        self.reader_left = isinstance(error, BrokenPipeError)


class Output(io.TextIOWrapper):
    """Standard output, whose errors are `OutputError`, so that no other file's are taken for them."""

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
    """Opens what is closed, so that no other file gets the number of a standard stream, and lets a character that the
    terminal lacks be no error."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            # The lowest free number, which is this one. Writing to it fails, as it does when it is closed.
            os.open(os.devnull, os.O_RDONLY if descriptor < 2 else os.O_RDWR)
    if sys.stdout is None or type(sys.stdout) is io.TextIOWrapper:  # no other program's own kind
        sys.stdout = _output(sys.stdout)
    if sys.stderr is None:
        sys.stderr = open(2, "w", errors="replace", closefd=False)
    elif isinstance(sys.stderr, io.TextIOWrapper):
        sys.stderr.reconfigure(errors="replace")


def give_up_output() -> None:
    """Lets standard output lead nowhere: what is in its buffer would fail again when Python exits."""
    _redirect_to_nowhere(1)


def say(line: str) -> None:
    """Prints a line on stderr; where that takes nothing, nobody is told."""
    try:
        print(line, file=sys.stderr, flush=True)
    except OSError:
        _redirect_to_nowhere(2)


def _output(stream: io.TextIOWrapper | None) -> Output:
    if stream is None:
        return Output(open(1, "wb", closefd=False), encoding="utf-8", errors="replace")
    encoding, lines, through = stream.encoding, stream.line_buffering, stream.write_through
    return Output(stream.detach(), encoding=encoding, errors="replace", line_buffering=lines, write_through=through)


def _redirect_to_nowhere(descriptor: int) -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, descriptor)
    os.close(nowhere)

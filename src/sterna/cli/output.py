"""Input and output that verbs share."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from sterna.errors import ContextLengthError, FormatError, NotFoundError

if TYPE_CHECKING:
    from sterna.engine.llm import LLM


def print_json(value: dict[str, Any]) -> None:
    """Prints a JSON object as one line of stdout, in ASCII where stdout is not UTF-8."""
    is_utf8 = sys.stdout.encoding.lower().replace("-", "") == "utf8"
    print(json.dumps(value, ensure_ascii=not is_utf8), flush=True)


def report_head(llm: LLM) -> None:
    """Prints on stderr how far a requantised head changes the logits; nothing where it is as in the file."""
    error = llm.head_error
    if error is not None:
        print(
            f"Head as {llm.options.head}: logits are off by {error.relative:.2%}, the top token is the same in "
            f"{error.top1:.0%} of {error.rows} positions.",
            file=sys.stderr,
        )


MAX_PROMPT_BYTES = 1 << 26
"""More than any context holds: what is longer (a pipe that never ends) is not read to its end."""


def read_text(path: Path) -> str:
    """The text of a UTF-8 file. Raises as `as_text`, and `NotFoundError` where it cannot be read."""
    try:
        with open(path, "rb") as file:
            return as_text(file.read(MAX_PROMPT_BYTES + 1), str(path))
    except OSError as error:
        raise NotFoundError(f"{path} cannot be read: {error.strerror}.") from None


def as_text(data: bytes, name: str) -> str:
    """UTF-8 bytes as text, line ends as they are; a byte order mark at the beginning is passed over. Raises
    `FormatError`, naming `name`, for other bytes, `ContextLengthError` for more than `MAX_PROMPT_BYTES`."""
    if len(data) > MAX_PROMPT_BYTES:
        raise ContextLengthError(f"{name} is longer than any context has room for; shorten the prompt.")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise FormatError(f"{name} is not UTF-8 text.") from None


class Advance(Protocol):
    """Moves a bar to a share from 0 to 1."""

    def __call__(self, share: float) -> None: ...


@contextmanager
def progress(title: str) -> Iterator[Advance]:
    """A progress bar on stderr, silent where stderr is no terminal."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(file=sys.stderr)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(title, total=1.0)
        yield lambda share: bar.update(task, completed=share)

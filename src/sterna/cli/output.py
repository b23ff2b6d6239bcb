"""Output that verbs share: JSON, tables and progress bars."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from sterna.cli.streams import say, write_text

if TYPE_CHECKING:
    from rich.console import Console

    from sterna.engine.llm import LLM

Advance = Callable[[float], None]
"""Moves a progress bar to a share from 0 to 1."""

DELAY_SECONDS = 1.0
"""People who wait for longer than this want to see that something happens."""


def print_json(value: dict[str, Any]) -> None:
    """Prints a JSON object as one line of stdout, in ASCII where stdout is not UTF-8. JSON leaves some
    control characters as they are, so a terminal gets pictures of them (`write_text`)."""
    is_utf8 = sys.stdout.encoding.lower().replace("-", "") == "utf8"
    write_text(json.dumps(value, ensure_ascii=not is_utf8) + "\n")


def console() -> Console:
    """A console for tables. They are as wide as the terminal; in a file or a pipe no line is folded or cut."""
    from rich.console import Console

    # A file has no width, and a search would not find what is cut or folded there.
    return Console(width=None if sys.stdout.isatty() else 100_000)


def report_head(llm: LLM) -> None:
    """Prints on stderr how much a requantised head changes the logits; prints nothing for the head of the file."""
    error = llm.head_error
    if error is not None:
        say(
            f"Head as {llm.options.head}: logits are off by {error.relative:.2%}, the top token is the same in "
            f"{error.top1:.0%} of {error.rows} positions."
        )


@contextmanager
def progress(title: str) -> Iterator[Advance]:
    """A progress bar on stderr, silent where stderr is no terminal."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(file=sys.stderr)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(title, total=1.0)
        yield lambda share: bar.update(task, completed=share)


@contextmanager
def delayed_progress(title: str) -> Iterator[Advance]:
    """As `progress`, but for work that is mostly short: the bar appears after `DELAY_SECONDS`, and it moves to and
    fro until it gets the first share."""
    if not sys.stderr.isatty():
        yield lambda share: None
        return
    shares: list[float] = []
    over = threading.Event()

    def show() -> None:
        if over.wait(DELAY_SECONDS):
            return
        from rich.console import Console
        from rich.progress import Progress

        with Progress(console=Console(file=sys.stderr), transient=True) as bar:
            task = bar.add_task(title, total=None)
            while not over.wait(0.1):
                if shares:
                    bar.update(task, total=1.0, completed=shares[-1])

    thread = threading.Thread(target=show, daemon=True)
    thread.start()
    try:
        yield shares.append
    finally:
        over.set()
        thread.join()

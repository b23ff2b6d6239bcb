"""Answers as plain text: for pipes, files and terminals that know no escape sequences."""

from __future__ import annotations

from collections.abc import Iterable

from sterna.chat.answer import Reading
from sterna.cli.streams import write_text
from sterna.server.events import Text, Thinking


def show(events: Iterable[Reading | Thinking | Text]) -> None:
    """Prints an answer as it comes, and a newline. Thoughts are left out."""
    ends_line = False
    try:
        for event in events:
            if isinstance(event, Text):
                write_text(event.text)
                ends_line = event.text.endswith("\n")
    finally:
        if not ends_line:
            print(flush=True)

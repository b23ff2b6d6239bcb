"""Answers as Markdown, drawn while they come."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator

from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.segment import Segment
from rich.text import Text as RichText

from sterna.chat.answer import Answer, Reading
from sterna.cli.terminal.blocks import Blocks, render
from sterna.cli.visible import visible
from sterna.server.events import Text, Thinking

PAUSE = 0.06
"""Seconds between two drawings, at least; text that comes meanwhile is drawn together."""
SHARE = 9
"""Drawing takes a tenth of the time at most: it pauses for nine times as long as it took."""
MARGIN = 3
"""Lines of the screen that a drawing leaves free."""

Row = list[Segment]


class Rows:
    """Lines that are already laid out."""

    def __init__(self, rows: Iterable[Row]) -> None:
        self.rows = rows

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for row in self.rows:
            yield from row
            yield Segment.line()


class Drawing:
    """The part of an answer that is on the screen.

    Complete blocks are printed for good, the block that is being written is drawn again and again below them. Where it
    is taller than the screen its upper lines are printed for good, too; a table whose columns become wider afterwards
    then shows a step.
    """

    def __init__(self, console: Console, live: Live) -> None:
        self._console, self._live = console, live
        self._blocks = Blocks()
        self._printed = 0
        """Lines of the current block that are printed for good."""
        self._is_first = True

    def add(self, text: str) -> None:
        """Draws the answer with this text at its end."""
        for block in self._blocks.feed(text):
            self._print(self._rows(block)[self._printed :])
            self._printed, self._is_first = 0, False
        rows = self._rows(self._blocks.rest)
        room = max(1, self._console.height - MARGIN)
        scrolled = len(rows) - room
        if scrolled > self._printed:
            self._print(rows[self._printed : scrolled])
            self._printed = scrolled
        self._live.update(Rows(rows[self._printed :]), refresh=True)

    def end(self) -> None:
        """Prints the rest for good."""
        self.add("\n")  # the end of the last line
        self._live.update(RichText(), refresh=True)
        self._live.stop()
        self._print(self._rows(self._blocks.rest)[self._printed :])

    def _rows(self, block: str) -> list[Row]:
        """The lines of a block, after an empty one where another block is above it. A block of which Markdown leaves
        nothing, such as `42.`, an empty item of a list, is laid out as it was written."""
        if not block.strip():
            return []
        for content in (render(block), RichText(block.strip("\n"))):
            rows = _without_margins([_trimmed(row) for row in self._console.render_lines(content, pad=False)])
            if rows:
                break
        return rows if self._is_first else [[], *rows]

    def _print(self, rows: list[Row]) -> None:
        if rows:
            self._console.print(Rows(rows), end="")


def _without_margins(rows: list[Row]) -> list[Row]:
    """The lines without the empty ones above and below, of which rich puts none, one or two, by the kind of block."""
    filled = [at for at, row in enumerate(rows) if row]
    return rows[filled[0] : filled[-1] + 1] if filled else []


def _trimmed(row: Row) -> Row:
    """The line without the spaces at its end, which rich puts there, and which would be copied with it."""
    row = list(row)
    while row:
        last = row.pop()
        text = last.text.rstrip(" ")
        if text:
            return [*row, Segment(text, last.style)]
    return row


def show(console: Console, answer: Answer) -> None:
    """Draws an answer as it comes. Of its thoughts it draws how many words they have."""
    live = Live(console=console, auto_refresh=False, transient=True, redirect_stdout=False, redirect_stderr=False)
    with live:
        drawing = Drawing(console, live)
        try:
            for event in _paced(answer):
                match event:
                    case Reading(share, tokens):
                        live.update(_note(f"reading {tokens:,} tokens: {share:.0%}"), refresh=True)
                    case Thinking():
                        live.update(_note(f"thinking: {_words(answer)}"), refresh=True)
                    case Text(text):
                        if text == answer.text and answer.thoughts:
                            _print_thoughts(console, live, answer)
                            console.print()
                        drawing.add(visible(text))
            if answer.thoughts and not answer.text:
                _print_thoughts(console, live, answer)
        finally:
            drawing.end()


def _paced(answer: Answer) -> Iterator[Reading | Thinking | Text]:
    """The events of an answer, with pauses in which more text comes."""
    for event in answer:
        started = time.monotonic()
        yield event
        if not answer.stopped:
            time.sleep(max(PAUSE, SHARE * (time.monotonic() - started)))


def _print_thoughts(console: Console, live: Live, answer: Answer) -> None:
    live.update(RichText(), refresh=True)
    seconds = f"{answer.thinking_seconds:.1f} s"
    console.print(_note(f"thought for {seconds}: {_words(answer)}; /thoughts shows them"), soft_wrap=True)


def _words(answer: Answer) -> str:
    count = len(answer.thoughts.split())
    return f"{count:,} word{'' if count == 1 else 's'}"


def _note(text: str) -> RichText:
    return RichText(text, style="dim")

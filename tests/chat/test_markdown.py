"""Answers on the screen: Markdown while it comes, thoughts, and what must not reach a terminal."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from typing import Any

import pyte
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from sterna.chat.answer import Reading
from sterna.cli.terminal import markdown, plain
from sterna.cli.terminal.blocks import Blocks
from sterna.cli.visible import visible
from sterna.server.events import Text, Thinking

WIDTH, HEIGHT = 80, 12


class Coming:
    """An answer of these events."""

    def __init__(self, *events: Reading | Thinking | Text) -> None:
        self._events = events
        self.text, self.thoughts, self.thinking_seconds, self.stopped = "", "", 1.25, False

    def __iter__(self) -> Iterator[Reading | Thinking | Text]:
        for event in self._events:
            if isinstance(event, Text):
                self.text += event.text
            if isinstance(event, Thinking):
                self.thoughts += event.text
            yield event


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(markdown, "PAUSE", 0.0)
    monkeypatch.setattr(markdown, "SHARE", 0)


def drawn(*events: Reading | Thinking | Text) -> tuple[str, str]:
    """What a terminal shows of an answer at its end, and all that was written to it."""
    written = io.StringIO()
    console = Console(file=written, force_terminal=True, color_system="standard", width=WIDTH, height=HEIGHT)
    coming: Any = Coming(*events)
    markdown.show(console, coming)
    screen = pyte.HistoryScreen(WIDTH, HEIGHT, history=10_000, ratio=1)
    pyte.Stream(screen).feed(written.getvalue().replace("\n", "\r\n"))
    above = ["".join(line[x].data for x in range(WIDTH)) for line in screen.history.top]
    lines = [line.rstrip() for line in [*above, *screen.display]]
    return "\n".join(lines).rstrip(), written.getvalue()


def pieces(text: str, size: int = 3) -> list[Text]:
    return [Text(text[at : at + size]) for at in range(0, len(text), size)]


def test_blocks_are_laid_out_in_80_columns() -> None:
    text = "# Terns\n\nThey are **light** and `small`:\n\n- Arctic\n- Common\n\n```python\nprint(1)\n```\n\nThe *end*."
    seen, written = drawn(*pieces(text))
    assert [line.strip(" ┃┏━┓┗┛") for line in seen.split("\n") if line.strip(" ┃┏━┓┗┛")] == [
        "Terns",
        "They are light and small:",
        "• Arctic",
        "• Common",
        "print(1)",
        "The end.",
    ]
    assert "**" not in seen and "```" not in seen and all(len(line) <= WIDTH for line in seen.split("\n"))
    assert "\x1b[1m" in written


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_however_it_is_cut_the_screen_is_the_same(size: int) -> None:
    text = "One\ntwo\n\n1. a\n2. b\n\n   more\n\n> quoted\nlazy\n\n| x | y |\n|---|---|\n| 1 | 2 |\n\nTitle\n===\n\nend"
    assert drawn(*pieces(text, size))[0] == drawn(Text(text))[0]


def test_code_can_be_copied() -> None:
    code = "def add(a, b):\n    return a + b\n\n\nprint(add(1, 2))"
    assert drawn(*pieces(f"Look:\n\n```python\n{code}\n```\nGood."))[0] == f"Look:\n\n{code}\n\nGood."


def test_what_is_taller_than_the_screen_is_there_once_and_whole() -> None:
    code = "```\n" + "".join(f"line {n}\n" for n in range(50)) + "```\n\nDone."
    seen, _ = drawn(*pieces(code, 4))
    assert [line.strip() for line in seen.split("\n") if line.strip()] == [*(f"line {n}" for n in range(50)), "Done."]
    prose = " ".join(f"word{n}" for n in range(400))
    assert drawn(*pieces(prose, 9))[0].split() == prose.split()


def test_nothing_that_a_model_writes_is_lost_as_html_or_as_a_definition() -> None:
    text = "std::vector<int> and <b>this</b>\n\n<div>that</div>\n\nSee [here][1].\n\n[1]: https://example.org/x\n"
    seen, _ = drawn(*pieces(text))
    for part in ("std::vector<int>", "<b>this</b>", "<div>that</div>", "https://example.org/x"):
        assert part in seen


def test_lines_stay_lines_and_links_show_their_address() -> None:
    seen, written = drawn(Text("Roses are red,\nviolets are blue.\n\n[shown](https://evil.example/)"))
    assert seen.startswith("Roses are red,\nviolets are blue.\n") and "https://evil.example/" in seen
    assert "\x1b]" not in written, "no hyperlink that hides where it leads"


def test_control_characters_are_pictures() -> None:
    hostile = "a\x1b]0;title\x07b\x1b[2Jc\x9b1md\x08e\x7f\u202eg\r\nh\ti"
    assert visible(hostile) == "a␛]0;title␇b␛[2Jc\ufffd1md␈e␡\ufffdg\nh\ti"
    assert visible("Grüße 👩‍🚀 שלום") == "Grüße 👩‍🚀 שלום"
    seen, written = drawn(*pieces(f"```\n{hostile}\n```\n\n{hostile}", 1))
    assert "\x1b]" not in written and "\x1b[2J" not in written and "\x07" not in written and "\x9b" not in written
    assert seen.count("␛]0;title␇") == 2


def test_thoughts_are_folded() -> None:
    seen, written = drawn(Reading(0.5, 1000), Thinking("They want "), Thinking("a number."), Text("42"), Text("."))
    assert seen == "thought for 1.2 s: 4 words; /thoughts shows them\n\n42."
    assert "reading 1,000 tokens: 50%" in written and "thinking: 2 words" in written and "a number" not in written
    assert drawn(Thinking("Hm"))[0] == "thought for 1.2 s: 1 word; /thoughts shows them"


def test_an_empty_answer_and_an_answer_that_fails_leave_the_cursor_visible() -> None:
    assert drawn()[0] == ""
    written = io.StringIO()

    class Failing(Coming):
        def __iter__(self) -> Iterator[Any]:
            yield Text("half")
            raise RuntimeError

    failing: Any = Failing()
    with pytest.raises(RuntimeError):
        markdown.show(Console(file=written, force_terminal=True, width=WIDTH, height=HEIGHT), failing)
    assert written.getvalue().rindex("\x1b[?25h") > written.getvalue().rindex("\x1b[?25l")
    assert written.getvalue().endswith("half\n")


@pytest.mark.parametrize(("is_terminal", "escape"), [(True, "␛"), (False, "\x1b")])
def test_plain_text_has_no_escape_codes_on_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, is_terminal: bool, escape: str
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: is_terminal)
    coming: Any = Coming(Reading(0.1, 10), Thinking("Hm"), Text("**bold**\x1b[1m"), Text("\n- x"))
    plain.show(coming)
    assert capsys.readouterr().out == f"**bold**{escape}[1m\n- x\n"


@settings(deadline=None)
@given(st.lists(st.text(st.sampled_from("ab #*-1.`>|=\n\t[]:<~\\"), max_size=9), max_size=30))
def test_blocks_lose_nothing(cut: list[str]) -> None:
    blocks, found = Blocks(), []
    for piece in cut:
        found += blocks.feed(piece)
    whole = "\n".join([*found, blocks.rest])
    assert whole.split() == "".join(cut).split()

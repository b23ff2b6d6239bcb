"""Thoughts are parted from the answer, however the text is cut."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sterna.chat.thinking import ThinkingParser
from sterna.server.events import Text, Thinking

TEXTS = st.lists(st.sampled_from(["<think>", "</think>", "<", "</th", "a", " ", "\n", "b<think", "ink>"]), max_size=12)


def parted(pieces: list[str], is_open: bool = False) -> tuple[str, str]:
    """The thoughts and the answer."""
    parser = ThinkingParser(is_open)
    events = [event for piece in pieces for event in parser.feed(piece)] + parser.finish()
    thoughts = "".join(event.text for event in events if isinstance(event, Thinking))
    return thoughts, "".join(event.text for event in events if isinstance(event, Text))


def test_thoughts_stand_at_the_beginning() -> None:
    assert parted(["\n<think>They ask.</think>42"]) == ("They ask.", "42")
    assert parted(["They ask.</think>42"], is_open=True) == ("They ask.", "42")
    assert parted(["So: <think>no</think>"]) == ("", "So: <think>no</think>")
    assert parted(["<think>cut"]) == ("cut", "")
    assert parted(["<thi"]) == ("", "<thi")
    assert parted(["a < b </thin"], is_open=True) == ("a < b </thin", "")


def test_what_is_certain_is_given_at_once() -> None:
    parser = ThinkingParser(False)
    assert [parser.feed(piece) for piece in ("<thi", "nk>a <", "b</", "think>", "c")] == [
        [],
        [Thinking("a ")],
        [Thinking("<b")],
        [],
        [Text("c")],
    ]


@given(TEXTS, st.booleans(), st.integers(1, 5))
def test_any_cut_gives_the_same_and_loses_nothing(parts: list[str], is_open: bool, size: int) -> None:
    text = "".join(parts)
    whole = parted([text], is_open)
    assert parted([text[at : at + size] for at in range(0, len(text), size)], is_open) == whole
    assert (whole[0] + whole[1]).count("a") == text.count("a")

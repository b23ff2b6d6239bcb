"""Thoughts are parted from the answer, however the text is cut."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sterna.server.events import CallStart, Event, Parser, Text, Thinking
from sterna.server.thinking import Chain, ThinkingParser, is_open, tags_of
from sterna.server.tools import parser
from tests.chat_templates import REAL, needs_real_templates

TAGS = ("<think>", "</think>")


def parted(state: Parser, pieces: Sequence[str]) -> tuple[str, str]:
    """Thoughts and answer."""
    events = [event for piece in pieces for event in state.feed(piece)] + state.finish()
    return tuple("".join(e.text for e in events if isinstance(e, kind)) for kind in (Thinking, Text))  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("text", "opened", "thoughts", "answer"),
    [
        ("<think>\nHm.\n</think>\n\nYes.", False, "Hm.", "Yes."),
        ("Hm.\n</think>\n\nYes.", True, "Hm.", "Yes."),
        ("\n<think></think>Yes. </think> <think>", False, "", "Yes. </think> <think>"),
        ("<think>a < b </thin> c</think>d", False, "a < b </thin> c", "d"),
        ("No thoughts, <think>no</think>.", False, "", "No thoughts, <think>no</think>."),
        ("<think>Without an end </thi", False, "Without an end </thi", ""),
        ("Without an end\n", True, "Without an end", ""),
        ("<thin", False, "", "<thin"),
        ("  indented", False, "", "  indented"),
        ("<think>a\n\n b</think>  c\n d ", False, "a\n\n b", "c\n d "),
        ("", False, "", ""),
        ("", True, "", ""),
    ],
)
def test_thoughts_are_parted_from_the_answer(text: str, opened: bool, thoughts: str, answer: str) -> None:
    for pieces in ([text], list(text)):
        assert parted(ThinkingParser(TAGS, opened), pieces) == (thoughts, answer)


TEXTS = st.lists(st.sampled_from(["<think>", "</think>", "<", "</", "think>", " ", "\n", "a", "bc", "é"])).map("".join)


@given(TEXTS, st.booleans(), st.lists(st.integers(0, 60)))
def test_cuts_change_nothing_and_nothing_is_lost(text: str, opened: bool, cuts: list[int]) -> None:
    places = sorted({min(cut, len(text)) for cut in cuts})
    pieces = [text[begin:end] for begin, end in zip([0, *places], [*places, len(text)], strict=True)]
    thoughts, answer = parted(ThinkingParser(TAGS, opened), pieces)
    assert (thoughts, answer) == parted(ThinkingParser(TAGS, opened), [text])
    given = "".join((thoughts + answer).split())
    whole = "".join(text.split())
    frame = {whole, whole.replace("<think>", "", 1), whole.replace("</think>", "", 1)}
    assert given in frame | {whole.replace("<think>", "", 1).replace("</think>", "", 1)}


def test_no_piece_waits_without_need() -> None:
    state = ThinkingParser(TAGS)
    seen: list[list[Event]] = [state.feed(piece) for piece in ("<think>", "a b", " c", "</think>", "d", " <", "e")]
    assert seen == [[], [Thinking("a b")], [Thinking(" c")], [], [Text("d")], [Text(" <")], [Text("e")]]


def test_calls_are_looked_for_in_the_answer_alone() -> None:
    tools = [{"type": "function", "function": {"name": "now"}}]
    call = '<tool_call>{"name": "now"}</tool_call>'
    state = Chain(ThinkingParser(TAGS), parser("hermes", tools))
    events = [event for character in f"<think>{call}</think>{call}" for event in state.feed(character)] + state.finish()
    assert "".join(event.text for event in events if isinstance(event, Thinking)) == call
    assert [event.name for event in events if isinstance(event, CallStart)] == ["now"]


def test_prompts_may_open_the_thoughts() -> None:
    assert is_open("<|im_start|>assistant\n<think>\n", TAGS) and not is_open("<think>\n\n</think>\n\n", TAGS)


@needs_real_templates
def test_templates_tell_their_tags() -> None:
    templates = {path.stem: path.read_text() for path in REAL}
    assert tags_of(templates["Qwen-Qwen3-0.6B"]) == TAGS
    assert tags_of(templates["mistralai-Ministral-3-14B-Reasoning-2512"]) == ("[THINK]", "[/THINK]")
    assert tags_of(templates["meta-llama-Llama-3.2-3B-Instruct"]) is None and tags_of(None) is None

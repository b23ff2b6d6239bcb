"""What the text of a model means: an answer, thoughts before it, calls of tools."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Text:
    """Visible text of the answer."""

    text: str


@dataclass(frozen=True)
class Thinking:
    """Reasoning text, parted from the answer."""

    text: str


@dataclass(frozen=True)
class CallStart:
    """A call of a tool begins; `index` counts the calls of an answer."""

    index: int
    id: str
    name: str


@dataclass(frozen=True)
class CallArguments:
    """A piece of the JSON text of a call's arguments."""

    index: int
    text: str


Event = Text | Thinking | CallStart | CallArguments


def joined(events: Iterable[Event]) -> list[Event]:
    """The same events, with neighbouring pieces of one text, or of one call's arguments, in one event."""
    whole: list[Event] = []
    for event in events:
        match whole[-1] if whole else None, event:
            case Text(before), Text(text):
                whole[-1] = Text(before + text)
            case Thinking(before), Thinking(text):
                whole[-1] = Thinking(before + text)
            case CallArguments(index, before), CallArguments(same, text) if index == same:
                whole[-1] = CallArguments(index, before + text)
            case _:
                whole.append(event)
    return whole


class Parser(Protocol):
    """A pure state machine over a model's text. It sees neither tokens nor HTTP nor the engine. Neighbouring events may
    be pieces of one text (`joined`)."""

    def feed(self, text: str) -> list[Event]:
        """What became certain with this piece of text."""

    def finish(self) -> list[Event]:
        """What was held back. A call that broke off before any of it was given out, or is no valid JSON, is `Text`."""

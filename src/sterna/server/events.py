"""What the text of a model means: an answer, thoughts before it, calls of tools."""

from __future__ import annotations

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


class Parser(Protocol):
    """A pure state machine over a model's text. It sees neither tokens nor HTTP nor the engine."""

    def feed(self, text: str) -> list[Event]:
        """What became certain with this piece of text."""

    def finish(self) -> list[Event]:
        """What was held back. A call that is broken off or is no valid JSON comes out as `Text`."""

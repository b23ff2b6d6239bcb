"""What a piece of an answer adds to a message."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from sterna.server.answer import Call, Piece
from sterna.server.calls import object_of
from sterna.server.events import CallArguments, CallStart, Text, Thinking


@dataclass
class Part:
    """A part of a message."""

    text: str = ""
    thinking: str = ""
    calls: list[dict[str, Any]] = field(default_factory=list)
    """Each with its arguments as an object."""
    logprobs: list[dict[str, Any]] = field(default_factory=list)
    last: dict[str, Any] | None = None
    """What the reply has beside the last part."""

    def add(self, part: Part) -> None:
        """Appends the part that comes next."""
        self.text += part.text
        self.thinking += part.thinking
        self.calls += part.calls
        self.logprobs += part.logprobs
        self.last = part.last

    def message(self, text_name: str) -> dict[str, Any]:
        """The fields of a message whose text is called `text_name`."""
        fields: dict[str, Any] = {text_name: self.text}
        if self.thinking:
            fields["thinking"] = self.thinking
        if self.calls:
            fields["tool_calls"] = self.calls
        return fields


class Parts:
    """Makes parts of pieces. A call is held back until it is whole, for its arguments are an object."""

    def __init__(self) -> None:
        self._call: Call | None = None
        self._calls = 0

    def part(self, piece: Piece) -> Part:
        """What a piece adds."""
        part = Part()
        for event in piece.events:
            if isinstance(event, CallArguments):
                assert self._call is not None
                self._call.arguments += event.text
                continue
            self._end_call(part)
            match event:
                case CallStart(_, id, name):
                    self._call = Call(id, name)
                case Text(text):
                    part.text += text
                case Thinking(text):
                    part.thinking += text
        if piece.finish is not None:
            self._end_call(part)
        return part

    def _end_call(self, part: Part) -> None:
        call, self._call = self._call, None
        if call is None:
            return
        given = object_of(call.arguments)
        if given is None:  # it was broken off, and stays readable as a text
            part.text += call.arguments
            return
        part.calls.append({"id": call.id, "function": {"index": self._calls, "name": call.name, "arguments": given}})
        self._calls += 1

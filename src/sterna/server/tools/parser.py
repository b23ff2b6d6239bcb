"""The base of parsers that find calls of tools in a model's text."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sterna.server.events import CallStart, Event, Text
from sterna.server.tools.call import JsonCall, new_id
from sterna.server.tools.spec import Tool


class ToolParser:
    """Text until a mark, then calls. Subclasses give the mark, and say by states what follows it where that is not the
    object of a call and then another mark.

    A state is a method that takes characters from `_held`; it returns whether it got further, False where it needs
    more text. White space between calls and after the last is dropped. What turns out to be no call is text, from its
    mark on. Arguments are streamed as they come, so a call that breaks off within them stays a call with a part of its
    arguments; with `whole`, calls are given out when they are complete, and one that breaks off is text.
    """

    mark: str

    def __init__(self, tools: Sequence[Tool], whole: bool = False, make_id: Callable[[], str] = new_id) -> None:
        self._names = frozenset(tool.name for tool in tools)
        self._whole, self._make_id = whole, make_id
        self._held = ""
        """Text that was not looked at, or is not yet decided."""
        self._raw = ""
        """Text of a call that began, which is text if it is no call."""
        self._call: JsonCall | None = None
        self._name: str | None = None
        self._calls = 0
        self._state: Callable[[], bool] = self._outside
        self._events: list[Event] = []

    def feed(self, text: str) -> list[Event]:
        """The events that became certain with this piece of text."""
        self._held += text
        while self._held and self._state():
            pass
        events, self._events = self._events, []
        return events

    def finish(self) -> list[Event]:
        """The events of what was held back."""
        while self._held and self._state():
            pass
        is_space_after_calls = self._calls > 0 and self._state != self._outside and not self._held.strip()
        self._fail()
        if not is_space_after_calls:
            self._give(self._held)
        self._held = ""
        events, self._events = self._events, []
        return events

    def _begun(self) -> bool:
        """The state after the mark: most forms have the object of a call there."""
        self._state = self._object
        return True

    def _outside(self) -> bool:
        at = self._held.find(self.mark)
        if at >= 0:
            self._give(self._held[:at])
            self._raw, self._held = self.mark, self._held[at + len(self.mark) :]
            self._state = self._begun
            return True
        end = len(self._held) - overlap(self._held, self.mark)
        self._give(self._held[:end])
        self._held = self._held[end:]
        return False

    def _after_calls(self) -> bool:
        """Drops white space before another mark."""
        rest = self._held.lstrip()
        if not rest or (len(rest) < len(self.mark) and self.mark.startswith(rest)):
            return False
        if rest.startswith(self.mark):
            self._held = rest
        self._state = self._outside
        return True

    def _object(self) -> bool:
        """Reads the object of a call, or the arguments of the tool `_name` alone; goes on with `_ended`."""
        if self._call is None:
            self._call = JsonCall(self._calls, self._names, self._whole, self._make_id, self._name)
        events, taken = self._call.feed(self._held)
        self._events += events
        self._take(taken)
        if any(isinstance(event, CallStart) for event in events):
            self._calls += 1
        if self._call.broken:
            self._fail()
        elif self._call.done:
            self._call, self._raw = None, ""
            self._state = self._ended
        return True

    def _ended(self) -> bool:
        """The state after the object of a call."""
        self._state = self._after_calls
        return True

    def _skip(self, *texts: str) -> str | None:
        """Takes white space and one of some texts; returns that text, "" for what is none, None for too little text.
        A brace is left where it is: it begins an object."""
        rest = self._held.lstrip()
        found = next((text for text in texts if rest.startswith(text)), "")
        if not found and any(text.startswith(rest) for text in texts):
            return None
        if found:
            self._take(len(self._held) - len(rest) + (len(found) if found != "{" else 0))
        return found

    def _take(self, count: int) -> None:
        """Makes characters a part of the call."""
        self._raw += self._held[:count]
        self._held = self._held[count:]

    def _fail(self) -> None:
        """Gives what seemed to be a call out as text, but for what was given out already."""
        streamed = self._call is not None and self._call.streamed
        self._give(self._call.rest if self._call is not None and streamed else self._raw)
        self._call, self._raw = None, ""
        self._state = self._outside

    def _give(self, text: str) -> None:
        if text:
            self._events.append(Text(text))


def overlap(text: str, mark: str) -> int:
    """How many characters at the end of a text may begin a mark."""
    return next((n for n in range(len(mark) - 1, 0, -1) if text.endswith(mark[:n])), 0)

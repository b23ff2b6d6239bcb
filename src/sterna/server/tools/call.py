"""Follows the JSON of one call, {"name": ..., "arguments": {...}}, character by character."""

from __future__ import annotations

import json
import secrets
import string
from collections.abc import Callable, Collection

from sterna.server.events import CallArguments, CallStart, Event

ARGUMENTS = ("arguments", "parameters")
_KEYS = frozenset((*ARGUMENTS, "name", "type", "id"))
_CLOSES = {"}": "{", "]": "["}


def new_id() -> str:
    """A call's id: nine letters and digits, for some templates refuse others."""
    return "".join(secrets.choice(string.ascii_letters + string.digits) for _ in range(9))


class JsonValue:
    """Finds the end of a JSON object: follows strings and brackets, no more."""

    def __init__(self) -> None:
        self.stack: list[str] = []
        self.in_string = self.done = self.broken = False
        self._escaped = False

    def take(self, character: str) -> None:
        """The next character; `done` after the last one, `broken` after one that cannot be."""
        if self.in_string:
            if self._escaped:
                self._escaped = False
            elif character == "\\":
                self._escaped = True
            elif character == '"':
                self.in_string = False
        elif character == '"' and self.stack:
            self.in_string = True
        elif character in "{[" and (self.stack or character == "{"):
            self.stack.append(character)
        elif character in _CLOSES and self.stack and self.stack[-1] == _CLOSES[character]:
            self.stack.pop()
            self.done = not self.stack
        elif character in _CLOSES or not (self.stack or character.isspace()):
            self.broken = True


class JsonCall:
    """Reads the object of one call. Its arguments are streamed if its name comes before them, unless `whole`.

    `names`: the tools that there are; an object with another name, or with keys that no call has, is no call. `name`:
    the tool of a call whose text is its arguments alone.
    """

    def __init__(
        self, index: int, names: Collection[str], whole: bool, make_id: Callable[[], str], name: str | None = None
    ) -> None:
        self._index, self._names, self._whole, self._make_id = index, names, whole, make_id
        self._value = JsonValue()
        self._text = ""
        self._key: str | None = None
        """The member whose value comes next or is being read; None where a key comes next."""
        self._begins = 0
        """Where the key or value that is being read begins, in `_text`."""
        self._ranges: dict[str, tuple[int, int]] = {}
        """Where the texts and objects among the members are."""
        self._streaming: str | None = None
        """The member that is streamed."""
        self._given = 0
        """How many characters of `_text` were given out."""
        self._is_closed_here = name is not None
        """Whether the object of the call is ours, around the arguments that come."""
        if name is not None:
            for character in json.dumps({"name": name})[:-1] + ', "arguments": ':
                self._take(character, [])

    @property
    def done(self) -> bool:
        """Whether the object has ended, and was a call."""
        return self._value.done

    @property
    def broken(self) -> bool:
        """Whether this is no call after all."""
        return self._value.broken

    @property
    def streamed(self) -> bool:
        """Whether a part of the call was given out before its end."""
        return self._streaming is not None

    @property
    def rest(self) -> str:
        """The characters that were taken and not given out; of a call that is done, its braces and keys."""
        return self._text[self._given :]

    def feed(self, text: str) -> tuple[list[Event], int]:
        """What became certain, and how many characters were taken: all, unless the call ends within them."""
        events: list[Event] = []
        taken = 0
        for taken, character in enumerate(text, 1):
            self._take(character, events)
            if self._is_closed_here and len(self._value.stack) == 1:
                self._take("}", events)
            if self.broken:  # this character is no part of it, and may begin something else
                self._text, taken = self._text[:-1], taken - 1
            if self.done or self.broken:
                break
        if self._streaming is not None:
            end = self._ranges.get(self._streaming, (0, len(self._text)))[1]
            if end > self._given:
                events.append(CallArguments(self._index, self._text[self._given : end]))
                self._given = end
        elif self.done:
            events += self._whole_call()
        return events, taken

    def _take(self, character: str, events: list[Event]) -> None:
        at, before, in_string = len(self._text), len(self._value.stack), self._value.in_string
        self._text += character
        self._value.take(character)
        if before == 2 and len(self._value.stack) == 1 and self._key is not None:
            self._ranges[self._key] = self._begins, at + 1
        if before != 1 or self.broken:
            return
        if in_string:
            if not self._value.in_string:
                self._string_ended(at + 1)
        elif character in '"{[':
            self._begins = at
            if character == "{" and self._key in ARGUMENTS and self._name in self._names and not self._whole:
                self._streaming, self._given = self._key, at
                events.append(CallStart(self._index, self._make_id(), self._name))
        elif character == ":":
            key = _loaded(self._text[self._begins : at])
            self._key = key if isinstance(key, str) else None
        elif character == ",":
            self._key = None

    def _string_ended(self, end: int) -> None:
        if self._key is None:
            self._value.broken = _loaded(self._text[self._begins : end]) not in _KEYS
        else:
            self._ranges[self._key] = self._begins, end
            self._value.broken = self._key == "name" and self._name not in self._names

    @property
    def _name(self) -> str:
        begin, end = self._ranges.get("name", (0, 0))
        name = _loaded(self._text[begin:end])
        return name if isinstance(name, str) else ""

    def _whole_call(self) -> list[Event]:
        """The events of a call that is complete; none, and `broken`, for what is no call."""
        call = _loaded(self._text)
        key = next((key for key in ARGUMENTS if isinstance(call, dict) and call.get(key) is not None), None)
        arguments, text = {}, "{}"
        if isinstance(call, dict) and key is not None:
            arguments, text = call[key], self._text[slice(*self._ranges.get(key, (0, 0)))]
        if isinstance(arguments, str):  # JSON within JSON, as some models write it
            arguments, text = _loaded(arguments), arguments
        if not isinstance(call, dict) or self._name not in self._names or not isinstance(arguments, dict):
            self._value.broken = True
            return []
        self._given = len(self._text)
        return [CallStart(self._index, self._make_id(), self._name), CallArguments(self._index, text)]


def _loaded(text: str) -> object:
    """The value of a JSON text; None where it is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None

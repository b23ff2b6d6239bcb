"""A string that knows which of its characters were typed in a message.

To a template a `Text` is an ordinary string. What the template makes of it (slices, concatenations, replacements) is a
`Text` again, so that in the rendered prompt every character still tells where it came from.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, SupportsIndex


class Text(str):
    """A string with one byte a character: 1 where the character was typed in a message, 0 where a template wrote it.

    Methods that give strings and are not defined here give plain ones, whose origin `with_origin` restores.
    """

    __slots__ = ("_typed",)
    _typed: bytes

    def __new__(cls, text: str, typed: bytes | None = None) -> Text:
        """`typed` has the length of `text`; without it the origin is that of `text`, a template's for a plain `str`."""
        self = super().__new__(cls, text)
        self._typed = typed_mask(text) if typed is None else typed
        return self

    @classmethod
    def joined(cls, parts: Iterable[str]) -> Text:
        """The parts one after the other."""
        parts = list(parts)
        return Text("".join(parts), b"".join(map(typed_mask, parts)))

    def __str__(self) -> Text:
        return self

    def __getitem__(self, key: SupportsIndex | slice) -> Text:
        part = self._typed[key]
        return Text(super().__getitem__(key), part if isinstance(part, bytes) else bytes((part,)))

    def __iter__(self) -> Iterator[Text]:
        return (self[at] for at in range(len(self)))

    def __add__(self, other: str) -> Text:
        return Text.joined((self, other)) if isinstance(other, str) else NotImplemented

    def __radd__(self, other: str) -> Text:
        return Text.joined((other, self)) if isinstance(other, str) else NotImplemented

    def __mul__(self, count: SupportsIndex) -> Text:
        return Text(super().__mul__(count), self._typed * count)

    __rmul__ = __mul__

    def lstrip(self, characters: str | None = None) -> Text:
        return self[len(self) - len(super().lstrip(characters)) :]

    def rstrip(self, characters: str | None = None) -> Text:
        return self[: len(super().rstrip(characters))]

    def strip(self, characters: str | None = None) -> Text:
        return self.rstrip(characters).lstrip(characters)

    def removeprefix(self, prefix: str, /) -> Text:
        return self[len(prefix) :] if self.startswith(prefix) else self

    def removesuffix(self, suffix: str, /) -> Text:
        return self[: len(self) - len(suffix)] if self.endswith(suffix) else self

    def split(self, sep: str | None = None, maxsplit: SupportsIndex = -1) -> list[Text]:  # type: ignore[override]
        return self._located(super().split(sep, maxsplit), len(sep or ""))

    def rsplit(self, sep: str | None = None, maxsplit: SupportsIndex = -1) -> list[Text]:  # type: ignore[override]
        return self._located(super().rsplit(sep, maxsplit), len(sep or ""))

    def splitlines(self, keepends: bool = False) -> list[Text]:  # type: ignore[override]
        return self._located(super().splitlines(keepends), 0)

    def _located(self, pieces: list[str], gap: int) -> list[Text]:
        """Plain pieces of this text, in order, with their origins; `gap` characters or white space lie between them."""
        found, at = [], 0
        for piece in pieces:
            at = self.find(piece, at)
            found.append(self[at : at + len(piece)])
            at += len(piece) + gap
        return found

    def partition(self, sep: str, /) -> tuple[Text, Text, Text]:
        at = self.find(sep)
        return (self, Text(""), Text("")) if at < 0 else (self[:at], self[at : at + len(sep)], self[at + len(sep) :])

    def rpartition(self, sep: str, /) -> tuple[Text, Text, Text]:
        at = self.rfind(sep)
        return (Text(""), Text(""), self) if at < 0 else (self[:at], self[at : at + len(sep)], self[at + len(sep) :])

    def replace(self, old: str, new: str, count: SupportsIndex = -1, /) -> str:
        if not old:
            return with_origin(super().replace(old, new, count), self, new)
        parts: list[str] = []
        at, left = 0, int(count)
        while left and (hit := self.find(old, at)) >= 0:
            parts += (self[at:hit], new)
            at, left = hit + len(old), left - 1
        return Text.joined((*parts, self[at:]))

    def join(self, items: Iterable[str], /) -> Text:
        parts: list[str] = []
        for item in items:
            parts += (self, item)
        return Text.joined(parts[1:])

    def upper(self) -> str:
        return self._recased(super().upper())

    def lower(self) -> str:
        return self._recased(super().lower())

    def capitalize(self) -> str:
        return self._recased(super().capitalize())

    def title(self) -> str:
        return self._recased(super().title())

    def _recased(self, text: str) -> str:
        """No character becomes shorter in another case, so that texts of equal length correspond in each character."""
        return Text(text, self._typed) if len(text) == len(self) else with_origin(text, self)


class Markup(Text):
    """What `safe` and `escape` give: `+` escapes the other side (as in MarkupSafe)."""

    __slots__ = ()

    def __html__(self) -> Text:
        return self

    def __add__(self, other: str) -> Text:
        return Markup(Text.joined((self, escaped(other)))) if isinstance(other, str) else NotImplemented

    def __radd__(self, other: str) -> Text:
        return Markup(Text.joined((escaped(other), self))) if isinstance(other, str) else NotImplemented


def escaped(value: object) -> Markup:
    """`value` as text without the characters that mean something in HTML."""
    if isinstance(value, Markup):
        return value
    text = value if isinstance(value, str) else with_origin(str(value), value)
    names = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "'": "&#39;", '"': "&#34;"}
    return Markup(Text.joined(with_origin(names.get(character, character), character) for character in Text(text)))


def typed_mask(text: str) -> bytes:
    """One byte a character: 1 where it was typed in a message."""
    return text._typed if isinstance(text, Text) else bytes(len(text))


def typed(text: str) -> Text:
    """A text from a message."""
    return Text(text, b"\1" * len(text))


def has_typed(value: Any) -> bool:
    """Whether a string, or one in a list or mapping, has characters that were typed in a message."""
    rest = [value]
    while rest:
        item = rest.pop()
        if isinstance(item, Text) and 1 in item._typed:
            return True
        if isinstance(item, Mapping):
            rest += (*item.keys(), *item.values())
        elif isinstance(item, list | tuple):
            rest += item
    return False


def with_origin(result: Any, *inputs: Any) -> Any:
    """A plain string that was made from `inputs`: wholly typed if any of them was in part. Other results stay as they
    are."""
    return typed(result) if type(result) is str and has_typed(inputs) else result

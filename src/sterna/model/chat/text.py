"""A string that knows which of its characters were typed in a message.

To a template a `Text` is an ordinary string. What the template makes of it (slices, concatenations, replacements) is a
`Text` again, so that in the rendered prompt every character still tells where it came from. Numbers are no texts: their
digits are the template's, wherever they come from.
"""

from __future__ import annotations

import re
from collections.abc import Callable, ItemsView, Iterable, Iterator, KeysView, Mapping, ValuesView
from typing import Any, SupportsIndex, TypeVar

Self = TypeVar("Self", bound="Text")


class Text(str):
    """A string with one byte a character: 1 where the character was typed in a message, 0 where a template wrote it.

    Methods that give strings and are not defined here give plain ones, whose origin `with_origin` restores.
    """

    __slots__ = ("_typed",)
    _typed: bytes

    def __new__(cls: type[Self], text: str, typed: bytes | None = None) -> Self:
        """`typed` has the length of `text`; without it the origin is that of `text`, a template's for a plain `str`."""
        self = super().__new__(cls, text)
        self._typed = typed_mask(text) if typed is None else typed
        return self

    @classmethod
    def joined(cls: type[Self], parts: Iterable[str]) -> Self:
        """The parts one after the other."""
        parts = list(parts)
        return cls("".join(parts), b"".join(map(typed_mask, parts)))

    def taken(self, other: Any) -> Any:
        """What becomes of another string that is put into this one: itself."""
        return other

    def __str__(self: Self) -> Self:
        return self

    def __getitem__(self: Self, key: SupportsIndex | slice) -> Self:
        part = self._typed[key]
        return type(self)(super().__getitem__(key), part if isinstance(part, bytes) else bytes((part,)))

    def __iter__(self) -> Iterator[Text]:
        marked = zip(super().__iter__(), self._typed, strict=True)
        return (Text(character, bytes((mark,))) for character, mark in marked)

    def __add__(self: Self, other: str) -> Self:
        return self.joined((self, self.taken(other))) if isinstance(other, str) else NotImplemented

    def __radd__(self: Self, other: str) -> Self:
        return self.joined((self.taken(other), self)) if isinstance(other, str) else NotImplemented

    def __mul__(self: Self, count: SupportsIndex) -> Self:
        return type(self)(super().__mul__(count), self._typed * count)

    __rmul__ = __mul__

    def lstrip(self: Self, characters: str | None = None, /) -> Self:
        return self[len(self) - len(super().lstrip(characters)) :]

    def rstrip(self: Self, characters: str | None = None, /) -> Self:
        return self[: len(super().rstrip(characters))]

    def strip(self: Self, characters: str | None = None, /) -> Self:
        return self.rstrip(characters).lstrip(characters)

    def removeprefix(self: Self, prefix: str, /) -> Self:
        return self[len(prefix) :] if self.startswith(prefix) else self

    def removesuffix(self: Self, suffix: str, /) -> Self:
        return self[: len(self) - len(suffix)] if self.endswith(suffix) else self

    def split(self: Self, sep: str | None = None, maxsplit: SupportsIndex = -1) -> list[Self]:  # type: ignore[override]
        return self._located(super().split(sep, maxsplit), len(sep or ""))

    def rsplit(self: Self, sep: str | None = None, maxsplit: SupportsIndex = -1) -> list[Self]:  # type: ignore[override]
        return self._located(super().rsplit(sep, maxsplit), len(sep or ""))

    def splitlines(self: Self, keepends: bool = False) -> list[Self]:  # type: ignore[override]
        return self._located(super().splitlines(keepends), 0)

    def _located(self: Self, pieces: list[str], gap: int) -> list[Self]:
        """Plain pieces of this text, in order, with their origins; `gap` characters or white space lie between them."""
        found, at = [], 0
        for piece in pieces:
            at = self.find(piece, at)
            found.append(self[at : at + len(piece)])
            at += len(piece) + gap
        return found

    def partition(self: Self, sep: str, /) -> tuple[Self, Self, Self]:
        at = self.find(sep)
        if at < 0:
            return self, self[:0], self[:0]
        return self[:at], self[at : at + len(sep)], self[at + len(sep) :]

    def rpartition(self: Self, sep: str, /) -> tuple[Self, Self, Self]:
        at = self.rfind(sep)
        if at < 0:
            return self[:0], self[:0], self
        return self[:at], self[at : at + len(sep)], self[at + len(sep) :]

    def replace(self: Self, old: str, new: str, count: SupportsIndex = -1, /) -> Self:
        new = self.taken(new)
        text = super().replace(old, new, count)
        if not old:
            return type(self)(with_origin(text, self, new))
        masks: list[bytes] = []
        at, left = 0, int(count)
        while left and (hit := self.find(old, at)) >= 0:
            masks += (self._typed[at:hit], typed_mask(new))
            at, left = hit + len(old), left - 1
        return type(self)(text, b"".join((*masks, self._typed[at:])))

    def join(self: Self, items: Iterable[str], /) -> Self:
        parts: list[str] = []
        for item in items:
            parts += (self, self.taken(item))
        return self.joined(parts[1:])

    def ljust(self: Self, width: SupportsIndex, fill: str = " ", /) -> Self:
        return self + Text(fill) * (int(width) - len(self))

    def rjust(self: Self, width: SupportsIndex, fill: str = " ", /) -> Self:
        return Text(fill) * (int(width) - len(self)) + self

    def center(self: Self, width: SupportsIndex, fill: str = " ", /) -> Self:
        width = int(width)
        room = max(width - len(self), 0)
        return self.rjust(len(self) + room // 2 + (room & width & 1), fill).ljust(width, fill)

    def zfill(self: Self, width: SupportsIndex, /) -> Self:
        sign = self[: self.startswith(("+", "-"))]
        return sign + self[len(sign) :].rjust(int(width) - len(sign), "0")

    def upper(self: Self) -> Self:
        return self._recased(super().upper(), str.upper)

    def lower(self: Self) -> Self:
        return self._recased(super().lower(), str.lower)

    def swapcase(self: Self) -> Self:
        return self._recased(super().swapcase(), str.swapcase)

    def casefold(self: Self) -> Self:
        return self._recased(super().casefold(), str.casefold)

    def capitalize(self: Self) -> Self:
        return self._recased(super().capitalize())

    def title(self: Self) -> Self:
        return self._recased(super().title())

    def _recased(self: Self, text: str, case: Callable[[str], str] | None = None) -> Self:
        """`text` in the origin of this text. No character becomes shorter in another case, so that texts of equal
        length correspond in each character. `case`: gives the other case, if its length is the same in every word."""
        if len(text) == len(self):
            return type(self)(text, self._typed)
        if case is None:
            return type(self)(with_origin(text, self))
        plain = str.__str__(self)
        runs = re.finditer(b"\0+|\1+", self._typed)
        return type(self)(text, b"".join(run[0][:1] * len(case(plain[run.start() : run.end()])) for run in runs))


class Markup(Text):
    """What `safe` and `escape` give: what is added to it, or put into it, is escaped (as in MarkupSafe 3)."""

    __slots__ = ()

    def taken(self, other: Any) -> Any:
        return escaped(other)

    def __radd__(self, other: str) -> Markup:
        return super().__radd__(other)  # Python asks the right side first only if its class has a method of its own

    def __html__(self) -> Markup:
        return self

    def __repr__(self) -> str:
        return f"Markup({super().__repr__()})"


_ESCAPES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "'": "&#39;", '"': "&#34;"}
_ESCAPED = re.compile("[&<>'\"]")


def escaped(value: object) -> Markup:
    """`value` as text without the characters that mean something in HTML."""
    if isinstance(value, Markup):
        return value
    text = Text(value if isinstance(value, str) else with_origin(str(value), value))
    plain, mask = str.__str__(text), text._typed
    parts: list[str] = []
    masks: list[bytes] = []
    at = 0
    for place in _ESCAPED.finditer(plain):
        start, escape = place.start(), _ESCAPES[place[0]]
        parts += (plain[at:start], escape)
        masks += (mask[at:start], mask[start : start + 1] * len(escape))
        at = start + 1
    return Markup("".join((*parts, plain[at:])), b"".join((*masks, mask[at:])))


def typed_mask(text: str) -> bytes:
    """One byte a character: 1 where it was typed in a message."""
    return text._typed if isinstance(text, Text) else bytes(len(text))


def typed(text: str) -> Text:
    """A text from a message."""
    return Text(str.__str__(text), b"\1" * len(text))


def has_typed(value: Any) -> bool:
    """Whether a string, or one in a list or mapping, has characters that were typed in a message. What else may print
    them (a namespace, a method of a string) counts as if it did."""
    rest = [value]
    while rest:
        item = rest.pop()
        if isinstance(item, Text):
            if 1 in item._typed:
                return True
        elif isinstance(item, Mapping):
            rest += (*item.keys(), *item.values())
        elif isinstance(item, list | tuple | KeysView | ValuesView | ItemsView):
            rest += item
        elif not (item is None or isinstance(item, str | int | float | range)):
            return True
    return False


def with_origin(result: Any, *inputs: Any) -> Any:
    """A plain string that was made from `inputs`: wholly typed if any of them was in part. Other results stay as they
    are."""
    return typed(result) if type(result) is str and has_typed(inputs) else result

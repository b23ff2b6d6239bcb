"""Reads GBNF, the grammars of llama.cpp (`grammars/README.md`, 2026)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NoReturn

from sterna.errors import GrammarError

MAX_CHARACTERS = 1 << 16
MAX_RULES = 1000
MAX_DEPTH = 30
"""Levels of parentheses; llguidance reads about as many."""
MAX_REPEATS = 2000
"""How often one item may be repeated, as in llama.cpp."""


@dataclass(frozen=True)
class Text:
    """Characters one after the other."""

    text: str


@dataclass(frozen=True)
class Chars:
    """One character in one of some ranges; `negated`: in none of them."""

    ranges: tuple[tuple[str, str], ...]
    negated: bool = False


@dataclass(frozen=True)
class Token:
    """One token of the vocabulary, as llguidance's Lark writes it."""

    lark: str


@dataclass(frozen=True)
class Name:
    """A rule, by its name."""

    name: str


@dataclass(frozen=True)
class Repeat:
    """An item, `least` to `most` times; a `most` of None is no limit."""

    item: Node
    least: int
    most: int | None


@dataclass(frozen=True)
class Sequence:
    """Items one after the other."""

    items: tuple[Node, ...]


@dataclass(frozen=True)
class Either:
    """One of several items."""

    options: tuple[Node, ...]


Node = Text | Chars | Token | Name | Repeat | Sequence | Either


def parts(node: Node) -> tuple[Node, ...]:
    """The nodes that a node consists of."""
    if isinstance(node, Sequence):
        return node.items
    if isinstance(node, Either):
        return node.options
    return (node.item,) if isinstance(node, Repeat) else ()


def names(node: Node) -> Iterator[str]:
    """The rules that a node uses."""
    if isinstance(node, Name):
        yield node.name
    for part in parts(node):
        yield from names(part)


def read_gbnf(text: str) -> dict[str, Node]:
    """The rules by their names. Raises `GrammarError`, naming the place, for what is no GBNF."""
    if len(text) > MAX_CHARACTERS:
        raise GrammarError(f"A grammar of {len(text)} characters is too long: {MAX_CHARACTERS} are possible.")
    rules = _Parser(text).rules()
    if "root" not in rules:
        raise GrammarError("The grammar has no rule 'root', with which a text begins.")
    if len(rules) > MAX_RULES:
        raise GrammarError(f"The grammar has {len(rules)} rules; {MAX_RULES} are possible.")
    for node in rules.values():
        for name in names(node):
            if name not in rules:
                raise GrammarError(f"The grammar uses the rule '{name}', which it does not define.")
    return rules


_SPACE = re.compile(r"(?:[ \t]|#[^\r\n]*)*")
_SPACE_AND_LINES = re.compile(r"(?:[ \t\r\n]|#[^\r\n]*)*")
_NAME = re.compile(r"[A-Za-z0-9_-]+")
_REPEATS = re.compile(r"\{\s*(\d{1,9})\s*(,?)\s*(\d{1,9})?\s*\}")
_TOKEN_ID = re.compile(r"(!?)<\[(\d{1,9})\]>")
_TOKEN_NAME = re.compile(r"(!?)<[^\s<>\[\]]+>")
_ESCAPE = re.compile(r"\\(?:x([0-9A-Fa-f]{2})|u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{8})|([nrt\\\"\[\]]))")
_MEANINGS = {"n": "\n", "r": "\r", "t": "\t"}


class _Parser:
    def __init__(self, text: str) -> None:
        self._text, self._at, self._depth = text, 0, 0

    def rules(self) -> dict[str, Node]:
        """A rule that is defined again is replaced, as in llama.cpp."""
        found: dict[str, Node] = {}
        self._skip(_SPACE_AND_LINES)
        while self._at < len(self._text):
            name = self._take(_NAME, "the name of a rule")
            self._skip(_SPACE)
            if not self._text.startswith("::=", self._at):
                self._fail("'::='")
            self._at += 3
            self._skip(_SPACE_AND_LINES)
            found[name[0]] = self._options(_SPACE)
            if self._at < len(self._text) and self._text[self._at] not in "\r\n":
                self._fail("the end of the rule")
            self._skip(_SPACE_AND_LINES)
        return found

    def _options(self, space: re.Pattern[str]) -> Node:
        options = [self._sequence(space)]
        while self._next() == "|":
            self._at += 1
            self._skip(_SPACE_AND_LINES)
            options.append(self._sequence(space))
        return options[0] if len(options) == 1 else Either(tuple(options))

    def _sequence(self, space: re.Pattern[str]) -> Node:
        items: list[Node] = []
        while (item := self._item()) is not None:
            self._skip(space)
            items.append(self._repeated(item))
            self._skip(space)
        return items[0] if len(items) == 1 else Sequence(tuple(items))

    def _item(self) -> Node | None:
        following = self._next()
        if following == '"':
            return Text(self._string())
        if following == "[":
            return self._characters()
        if following == ".":
            self._at += 1
            return Chars((), negated=True)
        if following == "(":
            return self._group()
        if following in ("<", "!"):
            return self._token()
        named = _NAME.match(self._text, self._at)
        if named is None:
            return None
        self._at = named.end()
        return Name(named[0])

    def _group(self) -> Node:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise GrammarError(f"The grammar has more than {MAX_DEPTH} parentheses within each other.")
        self._at += 1
        self._skip(_SPACE_AND_LINES)
        node = self._options(_SPACE_AND_LINES)
        if self._next() != ")":
            self._fail("')'")
        self._at += 1
        self._depth -= 1
        return node

    def _repeated(self, item: Node) -> Node:
        following = self._next()
        if following and following in "*+?":
            self._at += 1
            return Repeat(item, int(following == "+"), 1 if following == "?" else None)
        if following != "{":
            return item
        found = self._take(_REPEATS, "a number of repeats such as {2}, {2,} or {2,5}")
        least, most = int(found[1]), int(found[3]) if found[3] else None
        if found[3] and not found[2]:
            self._fail("a number of repeats such as {2}, {2,} or {2,5}")
        if max(least, most or 0) > MAX_REPEATS:
            raise GrammarError(f"The grammar repeats something {max(least, most or 0)} times; {MAX_REPEATS} is most.")
        if most is not None and most < least:
            raise GrammarError(f"The grammar repeats something at least {least} and at most {most} times.")
        return Repeat(item, least, most if found[2] else least)

    def _token(self) -> Node:
        by_id = _TOKEN_ID.match(self._text, self._at)
        if by_id is not None:
            self._at = by_id.end()
            return Token(f"<[{'^' if by_id[1] else ''}{by_id[2]}]>")
        by_name = self._take(_TOKEN_NAME, "a token such as <[123]> or <think>")
        if by_name[1]:
            raise GrammarError(f"The grammar excludes a token by its name, {by_name[0]}; exclude it by its id.")
        return Token(by_name[0])

    def _string(self) -> str:
        self._at += 1
        characters: list[str] = []
        while self._next() != '"':
            characters.append(self._character("a text"))
        self._at += 1
        return "".join(characters)

    def _characters(self) -> Node:
        self._at += 1
        negated = self._next() == "^"
        self._at += negated
        ranges: list[tuple[str, str]] = []
        while self._next() != "]":
            first = last = self._character("a class of characters")
            if self._next() == "-" and self._text[self._at + 1 : self._at + 2] not in ("]", ""):
                self._at += 1
                last = self._character("a class of characters")
            if last < first:
                raise GrammarError(f"The grammar has a range of characters that ends before it begins, {first}-{last}.")
            ranges.append((first, last))
        self._at += 1
        if not ranges and not negated:
            self._fail("a character in the class")
        return Chars(tuple(ranges), negated)

    def _character(self, where: str) -> str:
        following = self._next()
        if not following or following in "\r\n":
            raise GrammarError(f"The grammar has {where} that does not end in its line.")
        if following != "\\":
            self._at += 1
            return following
        found = self._take(_ESCAPE, "an escape such as \\n, \\x41 or \\u0041")
        number = found[1] or found[2] or found[3]
        if number is None:
            return _MEANINGS.get(found[4], found[4])
        code = int(number, 16)
        if code > 0x10FFFF or 0xD800 <= code < 0xE000:
            raise GrammarError(f"The grammar has the escape {found[0]}, which is no character.")
        return chr(code)

    def _next(self) -> str:
        return self._text[self._at : self._at + 1]

    def _skip(self, space: re.Pattern[str]) -> None:
        found = space.match(self._text, self._at)
        assert found is not None
        self._at = found.end()

    def _take(self, pattern: re.Pattern[str], what: str) -> re.Match[str]:
        found = pattern.match(self._text, self._at)
        if found is None:
            self._fail(what)
        self._at = found.end()
        return found

    def _fail(self, expected: str) -> NoReturn:
        line = self._text.count("\n", 0, self._at) + 1
        raise GrammarError(
            f"In line {line} of the grammar {expected} is expected, not {self._text[self._at :][:20]!r}."
        )

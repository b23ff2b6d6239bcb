"""Writes GBNF as llguidance's Lark.

llguidance cuts a text into terminals, each of them as long as it can be, and parses these. A part of a grammar that
contains no recursion can be one terminal, which is fast, but only where it cannot take characters that what follows
needs: `[ \\n]* "\\n"` is one terminal or three, not two. So parts become terminals that are as large as possible, and
fall apart, down to single characters, where a character may both extend them and begin what follows.

Sets of characters are numbers with a bit for each ASCII character, and one for all others.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import TypeVar

from sterna.engine.grammar.gbnf import Chars, Either, Name, Node, Repeat, Sequence, Text, Token, names, parts, read_gbnf

V = TypeVar("V")

ASCII = 128
MOST_JOINED = 8
"""Most items of a sequence that become one terminal."""
EVERY = (1 << ASCII + 1) - 1


def to_lark(text: str) -> str:
    """The same grammar in Lark. Raises `GrammarError`, naming the place, for what is no GBNF."""
    return _Writer(read_gbnf(text)).lark()


class _Analysis:
    """Which characters may begin, extend and follow the rules of a grammar."""

    def __init__(self, rules: dict[str, Node]) -> None:
        self.rules = rules
        self._empty = dict.fromkeys(rules, False)
        self._first, self._longer, self.follow = (dict.fromkeys(rules, 0) for _ in range(3))
        self.regular = _regular(rules)
        _settle(self._empty, lambda name: self.may_be_empty(rules[name]))
        _settle(self._first, lambda name: self.first(rules[name]))
        _settle(self._longer, lambda name: self.longer(rules[name]))
        changed = True
        while changed:
            before = dict(self.follow)
            for name, node in rules.items():
                self._spread(node, self.follow[name])
            changed = before != self.follow

    def may_be_empty(self, node: Node) -> bool:
        """Whether a text without characters is one of the node's."""
        if isinstance(node, Name):
            return self._empty[node.name]
        if isinstance(node, Repeat):
            return node.least == 0 or self.may_be_empty(node.item)
        if isinstance(node, Text):
            return not node.text
        if isinstance(node, Either):
            return any(map(self.may_be_empty, node.options))
        return isinstance(node, Sequence) and all(map(self.may_be_empty, node.items))

    def first(self, node: Node) -> int:
        """The characters that may begin a text of the node."""
        if isinstance(node, Name):
            return self._first[node.name]
        if isinstance(node, Text):
            return _bit(node.text[0]) if node.text else 0
        if isinstance(node, Chars):
            return _bits(node)
        if isinstance(node, Token):
            return EVERY
        found = 0
        for part in parts(node):
            found |= self.first(part)
            if isinstance(node, Sequence) and not self.may_be_empty(part):
                break
        return found

    def longer(self, node: Node) -> int:
        """The characters that may come after a text of the node, where both together begin a text of it."""
        if isinstance(node, Name):
            return self._longer[node.name]
        found = 0
        if isinstance(node, Repeat):
            return self.longer(node.item) | self.first(node.item)
        if isinstance(node, Sequence):
            for item in node.items:
                # What an item may be extended by counts where all after it may be empty.
                found = self.longer(item) | (found | self.first(item) if self.may_be_empty(item) else 0)
        if isinstance(node, Either):
            begun = 0
            for option in node.options:
                first = self.first(option)
                # One option may begin another: then any character may come next.
                found |= self.longer(option) | (EVERY if begun & first or self.may_be_empty(option) else 0)
                begun |= first
        return found

    def _spread(self, node: Node, follow: int) -> None:
        """Records what follows the rules in a node that `follow` follows."""
        if isinstance(node, Name):
            self.follow[node.name] |= follow
        elif isinstance(node, Sequence):
            for item in reversed(node.items):
                self._spread(item, follow)
                follow = self.first(item) | (follow if self.may_be_empty(item) else 0)
        elif isinstance(node, Repeat):
            self._spread(node.item, follow | self.first(node.item))
        else:
            for part in parts(node):
                self._spread(part, follow)


class _Writer:
    """Writes rules as Lark: `r...` are rules, `T...` terminals for rules, `J...` for parts of rules."""

    def __init__(self, rules: dict[str, Node]) -> None:
        self._rules, self._analysis = rules, _Analysis(rules)
        self._numbers = {name: number for number, name in enumerate(rules)}
        self._lines: dict[str, str] = {}
        self._wanted: list[tuple[str, str]] = []
        """Names in Lark and in GBNF of rules and terminals that are used, and not written yet."""

    def lark(self) -> str:
        """The whole grammar."""
        self._lines["start"] = self._rule("root", 0)
        while self._wanted:
            lark, name = self._wanted.pop()
            if lark not in self._lines:
                self._lines[lark] = ""
                node, follow = self._rules[name], self._analysis.follow[name]
                self._lines[lark] = self._expression(node) if lark[0] == "T" else self._written(node, follow)
        return "".join(f"{name}: {line}\n" for name, line in self._lines.items())

    def _is_terminal(self, node: Node, follow: int) -> bool:
        regular = not isinstance(node, Token) and all(name in self._analysis.regular for name in names(node))
        return regular and not _has_token(node) and not self._analysis.longer(node) & follow

    def _rule(self, name: str, follow: int) -> str:
        lark = f"{'T' if self._is_terminal(Name(name), follow) else 'r'}{self._numbers[name]}"
        self._wanted.append((lark, name))
        return lark

    def _written(self, node: Node, follow: int) -> str:
        """A node of a rule that `follow` follows."""
        if isinstance(node, Name):
            return self._rule(node.name, follow)
        if isinstance(node, Token):
            return node.lark
        if isinstance(node, Text | Chars) or self._is_terminal(node, follow):
            lark = f"J{len(self._lines)}"
            self._lines[lark] = self._expression(node)
            return lark
        if isinstance(node, Either):
            return f"({' | '.join(self._written(option, follow) for option in node.options)})"
        if isinstance(node, Repeat):
            return f"({self._written(node.item, follow | self._analysis.first(node.item))}){_suffix(node)}"
        return " ".join(self._sequence(parts(node), follow))

    def _sequence(self, items: tuple[Node, ...], follow: int) -> Iterator[str]:
        """Items in turn, as many of them in one terminal as can be."""
        after = [follow]  # the characters that may come after each item, and first those before the first
        for item in reversed(items):
            after.append(self._analysis.first(item) | (after[-1] if self._analysis.may_be_empty(item) else 0))
        after.reverse()
        at = 0
        while at < len(items):
            for end in range(min(len(items), at + MOST_JOINED), at, -1):
                head = items[at] if end == at + 1 else Sequence(items[at:end])
                if end == at + 1 or self._is_terminal(head, after[end]):
                    yield self._written(head, after[end])
                    at = end
                    break

    def _expression(self, node: Node) -> str:
        """A node of a terminal."""
        if isinstance(node, Text):
            return json.dumps(node.text)
        if isinstance(node, Chars):
            ranges = "".join(f"\\x{{{ord(first):x}}}-\\x{{{ord(last):x}}}" for first, last in node.ranges)
            return f"/[{'^' if node.negated else ''}{ranges}]/" if ranges else "/(?s:.)/"
        if isinstance(node, Name):
            lark = f"T{self._numbers[node.name]}"
            self._wanted.append((lark, node.name))
            return lark
        if isinstance(node, Repeat):
            return f"({self._expression(node.item)}){_suffix(node)}"
        if isinstance(node, Either):
            return f"({' | '.join(map(self._expression, node.options))})"
        return " ".join(map(self._expression, parts(node))) or '""'


def _suffix(node: Repeat) -> str:
    return f"{{{node.least},{'' if node.most is None else node.most}}}"


def _settle(values: dict[str, V], value: Callable[[str], V]) -> None:
    """Computes the values of all rules from each other until none changes."""
    changed = True
    while changed:
        changed = False
        for name in reversed(values):  # rules mostly come before those that they use
            new = value(name)
            if new != values[name]:
                values[name], changed = new, True


def _regular(rules: dict[str, Node]) -> set[str]:
    """The rules that neither contain themselves nor name a token, in whatever rules they contain."""
    missing = {name: set(names(node)) for name, node in rules.items()}
    users: dict[str, list[str]] = {name: [] for name in rules}
    for name, used in missing.items():
        for other in used:
            users[other].append(name)
    ready = [name for name, used in missing.items() if not used]
    found: set[str] = set()
    while ready:
        done = ready.pop()
        if _has_token(rules[done]):
            continue
        found.add(done)
        for user in users[done]:
            missing[user].discard(done)
            if not missing[user]:
                ready.append(user)
    return found


def _has_token(node: Node) -> bool:
    return isinstance(node, Token) or any(map(_has_token, parts(node)))


def _bit(character: str) -> int:
    return 1 << min(ord(character), ASCII)


def _bits(node: Chars) -> int:
    """The characters of a class; where some of those beyond ASCII are, all may be."""
    found = 0
    for first, last in node.ranges:
        low, high = min(ord(first), ASCII), min(ord(last), ASCII)
        found |= (1 << high + 1) - (1 << low)
    return EVERY ^ found & (1 << ASCII) - 1 if node.negated else found

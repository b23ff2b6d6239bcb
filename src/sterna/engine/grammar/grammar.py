"""`Grammar`: the form of a text, as a JSON schema, a regular expression, some choices, or a grammar in Lark or GBNF."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sterna.engine.grammar.cost import check_lark
from sterna.engine.grammar.schema import schema_text
from sterna.errors import ArgumentError, GrammarError

MAX_CHARACTERS = 1 << 18
"""Most characters of a whole grammar, which may hold a schema for each of many tools."""


@dataclass(frozen=True)
class Grammar:
    """The form of a text. Raises `GrammarError` for what no grammar can be made of; `Grammars.compile` finds the rest.

    Equal grammars are compiled once.
    """

    text: str
    """As llguidance (1.9) takes it: `{"grammars": [{"json_schema": ...} or {"lark_grammar": ...}]}`."""

    def __post_init__(self) -> None:
        if len(self.text) > MAX_CHARACTERS:
            raise GrammarError(f"A grammar of {len(self.text)} characters is too long: {MAX_CHARACTERS} are possible.")

    @classmethod
    def json_object(cls) -> Grammar:
        """Any JSON object, without white space between its parts."""
        return cls.json_schema({"type": "object"})

    @classmethod
    def json_schema(cls, schema: Any) -> Grammar:
        """JSON that a schema describes (a mapping, or its JSON text), without white space between its parts.

        Keys come in the order of the schema. JSON leaves white space and order free, but weak models lose themselves in
        that freedom.
        """
        return cls(f'{{"grammars":[{{"json_schema":{schema_text(schema)}}}]}}')

    @classmethod
    def regex(cls, pattern: str) -> Grammar:
        """A text that a regular expression matches as a whole, in the syntax of Rust's `regex`, without look-around."""
        _check_text("A regular expression", pattern)
        return cls.lark(f"start: /{lark_regex(pattern)}/")

    @classmethod
    def choice(cls, strings: Sequence[str]) -> Grammar:
        """One of some texts."""
        if isinstance(strings, str) or not isinstance(strings, Sequence) or not strings:
            raise GrammarError("A choice is a list of at least one text.")
        for text in strings:
            _check_text("A choice", text)
        return cls.lark("start: " + " | ".join(map(json.dumps, strings)))

    @classmethod
    def lark(cls, text: str) -> Grammar:
        """A grammar in llguidance's dialect of Lark, whose first rule is `start`."""
        _check_text("A grammar", text)
        check_lark(text)
        return cls(json.dumps({"grammars": [{"lark_grammar": text}]}))

    @classmethod
    def gbnf(cls, text: str) -> Grammar:
        """A grammar in llama.cpp's GBNF, whose first rule is `root`."""
        from sterna.engine.grammar.gbnf_lark import to_lark  # takes milliseconds, which no other grammar needs

        _check_text("A grammar", text)
        return cls.lark(to_lark(text))

    def within(self, lark: str, name: str = "form") -> Grammar:
        """A grammar in Lark in which `@form` stands for this one; `name`: in place of `form`, where that is taken."""
        form, *others = json.loads(self.text)["grammars"]
        return Grammar(json.dumps({"grammars": [{"lark_grammar": lark}, {**form, "name": name}, *others]}))

    @classmethod
    def of(
        cls,
        json_schema: Any = None,
        regex: str | None = None,
        choice: Sequence[str] | None = None,
        grammar: Grammar | str | None = None,
    ) -> Grammar | None:
        """The one of these that is given; None where none is. A `grammar` that is a text is GBNF if it has `::=`, else
        Lark. Raises `ArgumentError` for two of them, `GrammarError` as the other methods do."""
        given = {"json_schema": json_schema, "regex": regex, "choice": choice, "grammar": grammar}
        named = [name for name, value in given.items() if value is not None]
        if len(named) > 1:
            raise ArgumentError(f"A text has one form: give {' or '.join(named)}, not both.")
        if json_schema is not None:
            return cls.json_schema(json_schema)
        if regex is not None:
            return cls.regex(regex)
        if choice is not None:
            return cls.choice(choice)
        if grammar is None or isinstance(grammar, Grammar):
            return grammar
        _check_text("A grammar", grammar)
        return cls.gbnf(grammar) if "::=" in grammar else cls.lark(grammar)


def lark_regex(pattern: str) -> str:
    """A regular expression as it is written between two slashes in Lark."""
    # Lark ends an expression at a slash or a line end; escapes in it are those of the expression itself.
    written = {"/": "\\/", "\n": "\\n", "\\\n": "\\n"}
    return "".join(written.get(part, part) for part in _escapes_apart(pattern))


def _check_text(what: str, text: object) -> None:
    if not isinstance(text, str):
        raise GrammarError(f"{what} is a text, not a {type(text).__name__}.")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise GrammarError(f"{what} has half a surrogate pair, which is no character.") from None


def _escapes_apart(pattern: str) -> list[str]:
    """The pattern's characters, each backslash with the character after it."""
    parts: list[str] = []
    for character in pattern:
        if parts and parts[-1] == "\\":
            parts[-1] += character
        else:
            parts.append(character)
    return parts

"""The form in which a model writes calls, as data, and the grammar that follows from it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass

from sterna.engine.grammar import Grammar
from sterna.errors import ArgumentError
from sterna.server.tools.parser import ToolParser
from sterna.server.tools.spec import Tool

NAME = "{NAME}"
"""Stands for the name of the tool."""
_JSON_TOKEN = re.compile(r'"[^"]*"|[:,] |.')
TokenId = Callable[[str], int | None]
"""The special token that a vocabulary has for a text, or None."""


@dataclass(frozen=True)
class Form:
    """A mark, then calls: `mark opening (head arguments tail) between (head arguments tail) ... closing`.

    All parts are written exactly so by a model that follows the grammar. Parsers allow more.
    """

    style: str
    matches: Callable[[str], bool]
    """Whether a chat template asks for calls in this form."""
    parser: type[ToolParser]
    mark: str
    head: tuple[str, ...]
    """What is before the arguments of a call; texts that may be special tokens stand by themselves."""
    arguments: Callable[[Tool], str] = Tool.arguments
    """The arguments of a tool in Lark."""
    tail: str = "}"
    opening: str = ""
    between: tuple[str, ...] | None = None
    """What is between two calls; None where an answer has one call at most."""
    closing: str = ""
    before: str = r"(.|\n)*"
    """The text that may be before the mark."""
    special: tuple[str, ...] = ()
    """Texts that are special tokens in some vocabularies."""

    def grammar(
        self, tools: tuple[Tool, ...], choice: str, parallel: bool, token_id: TokenId, text: Grammar | None = None
    ) -> Grammar:
        """The grammar of answers that may call `tools`.

        `choice`: `auto` (a text, or calls after one), `required` (calls from the first token on), or the name of the
        tool that is called once. `text`: what an answer without calls must look like; calls then have no text before
        them. Raises `ArgumentError` for a name that no tool has, `GrammarError` for parameters that cannot be compiled.
        """
        tokens = {text: token for text in self.special if (token := token_id(text)) is not None}

        def written(*texts: str) -> str:
            if self.mark.startswith("{"):
                # In the tokens of JSON: llguidance looks for the longest one, and not for a shorter one again, so a
                # longer text hides those with which another JSON goes on.
                texts = tuple(_JSON_TOKEN.findall("".join(texts)))
            return " ".join(f"<[{tokens[text]}]>" if text in tokens else json.dumps(text) for text in texts if text)

        if choice not in ("auto", "required"):
            tools, parallel = tuple(tool for tool in tools if tool.name == choice), False
            if not tools:
                raise ArgumentError(f"No tool has the name '{choice}'.")

        def call(*before: str) -> str:
            return " | ".join(
                f"{written(*before, *(part.replace(NAME, tool.name) for part in self.head))} "
                f"{self.arguments(tool)} {written(self.tail)}"
                for tool in tools
            )

        more = f"({written(*self.between)} call)*" if parallel and self.between is not None else ""
        lines = [f"calls: {written(self.opening)} call {more} {written(self.closing)}", f"call: {call()}"]
        if choice != "auto":
            lines.append(f"start: {written(self.mark)} calls")
        elif text is not None:
            lines = [f"start: @text | first {more} {written(self.closing)}", f"call: {call()}"]
            lines.append(f"first: {call(self.mark, self.opening)}")
            return text.within("\n".join(lines), name="text")
        elif self.mark in tokens:
            lines += [f"start: TEXT | TEXT {written(self.mark)} calls", r"TEXT: /(.|\n)*/"]
        else:
            # Lazy: where the mark comes, it begins calls, and is no part of a text.
            lines += ["start: TEXT | begun calls", f"begun[lazy]: BEFORE {written(self.mark)}"]
            lines += [f"BEFORE: /{self.before}/", r"TEXT: /(.|\n)*/"]
        return Grammar.lark("\n".join(lines) + "\n")

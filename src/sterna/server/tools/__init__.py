"""Tools that a model may call: how its template tells it of them, how its answers are constrained, and how calls are
found in its text. Each form of calls is described in a file of its own (`hermes.py`, `qwen3_coder.py`, `llama3.py`,
`mistral.py`, `generic.py`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sterna.engine.grammar import Grammar
from sterna.errors import ArgumentError, shown
from sterna.model.tokenizer import Tokenizer
from sterna.server.events import Parser
from sterna.server.tools.form import Form
from sterna.server.tools.generic import GENERIC, told
from sterna.server.tools.hermes import HERMES
from sterna.server.tools.llama3 import LLAMA3
from sterna.server.tools.mistral import MISTRAL, MISTRAL_NAMES
from sterna.server.tools.qwen3_coder import QWEN3_CODER
from sterna.server.tools.spec import read_tools

FORMS = {form.style: form for form in (HERMES, QWEN3_CODER, MISTRAL_NAMES, MISTRAL, LLAMA3, GENERIC)}
"""In the order in which templates are compared with them."""


def style_of(template: str | None) -> str:
    """The form of calls that a chat template asks for: `generic` where it asks for none of the others."""
    return next(style for style, form in FORMS.items() if form.matches(template or ""))


def parser(style: str | None, tools: Sequence[Mapping[str, Any]], whole: bool = False) -> Parser:
    """A parser of answers in a form of calls; None is `generic`. Raises `ArgumentError` for what are no tools.

    Arguments come piece by piece, so that a call which breaks off within them comes with a part of them. `whole`: a
    call comes when it is complete, and is text where it breaks off or is no valid JSON.
    """
    return _form(style).parser(read_tools(tools), whole)


class ToolUse:
    """The tools of one request to one model.

    `tools`: functions in the form of OpenAI's API; `choice`: `none`, `auto`, `required`, or a function to call, as
    {"name": ...} or {"function": {"name": ...}}. Raises `ArgumentError` for what is neither.
    """

    def __init__(
        self,
        template: str | None,
        tools: Sequence[Mapping[str, Any]],
        choice: str | Mapping[str, Any] = "auto",
        parallel: bool = True,
    ) -> None:
        self._choice = _choice(choice)
        self.tools = () if self._choice == "none" else read_tools(tools)
        self._form = _form(style_of(template))
        self._parallel = parallel
        if isinstance(choice, Mapping) and self._choice not in {tool.name for tool in self.tools}:
            raise ArgumentError(f"No tool has the name {shown(self._choice)}.")
        if self._choice == "required" and not self.tools:
            raise ArgumentError("A call is required, but there are no tools.")

    @property
    def special(self) -> tuple[str, ...]:
        """Special tokens that are a part of the text (`shown` of `LLM.generation`)."""
        return self._form.special if self.tools else ()

    def encode(self, tokenizer: Tokenizer, messages: Sequence[Mapping[str, Any]], **options: Any) -> list[int]:
        """The ids of a conversation, in which the model is told of the tools. Raises as `Tokenizer.encode_chat`."""
        if not self.tools:
            return tokenizer.encode_chat(messages, **options)
        if self._form is not GENERIC:
            return tokenizer.encode_chat(messages, tools=[tool.as_given for tool in self.tools], **options)
        try:
            return tokenizer.encode_chat(told(messages, self.tools), **options)
        except ArgumentError:  # some templates refuse messages of the system
            return tokenizer.encode_chat(told(messages, self.tools, role="user"), **options)

    def grammar(self, tokenizer: Tokenizer, text: Grammar | None = None) -> Grammar | None:
        """The grammar of the answer, whose text, where nothing is called, has the form `text`; None for any text.
        Raises `GrammarError` for parameters that cannot be followed, as does compiling it."""
        if not self.tools:
            return text
        return self._form.grammar(self.tools, self._choice, self._parallel, tokenizer.special_id, text)

    def parser(self, whole: bool = False) -> Parser:
        """A parser of one answer; `whole` as in `parser`."""
        return self._form.parser(self.tools, whole)


def _form(style: str | None) -> Form:
    if style is not None and style not in FORMS:
        raise ArgumentError(f"The forms of calls are {', '.join(FORMS)}; {shown(style)} is none of them.")
    return FORMS[style or GENERIC.style]


def _choice(choice: str | Mapping[str, Any]) -> str:
    if isinstance(choice, Mapping):
        function = choice.get("function", choice)
        name = function.get("name") if isinstance(function, Mapping) else None
        if isinstance(name, str):
            return name
    elif choice in ("none", "auto", "required"):
        return choice
    raise ArgumentError(f'The choice of a tool is none, auto, required or {{"name": ...}}, not {shown(choice)}.')

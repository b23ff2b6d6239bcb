"""What a question asks of the form of its answer: the prompt's tokens, the grammar, and how the text is read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sterna.engine.grammar import Grammar
from sterna.engine.llm import LLM
from sterna.engine.prompts import Prompt
from sterna.model.tokenizer import Tokenizer
from sterna.server.errors import ApiError
from sterna.server.events import Event, Parser, Text
from sterna.server.question import Question
from sterna.server.thinking import Chain, ThinkingParser, after_thoughts, is_open, tags_of
from sterna.server.tools import ToolUse

TAIL = 16
"""Tokens at the end of a prompt among which a tag that opens thoughts is looked for."""


@dataclass(frozen=True)
class Shape:
    """How one choice is generated and read. Its parser is its own."""

    prompt: Prompt
    parser: Parser
    grammar: Grammar | None = None
    shown: tuple[str, ...] = ()
    """Special tokens that are a part of the text."""


class PlainText:
    """The parser of answers that are nothing but text."""

    def feed(self, text: str) -> list[Event]:
        return [Text(text)] if text else []

    def finish(self) -> list[Event]:
        return []


def shapes(llm: LLM, question: Question) -> list[list[Shape]]:
    """For each prompt one shape for each of its choices. Raises `ApiError` for what cannot be done, and as
    `Tokenizer.encode_chat`, `ToolUse` and `Grammars.compile`."""
    if not question.prompts:
        return [_of_chat(llm.tokenizer, question)]
    return [
        [Shape(prompt, PlainText(), question.grammar) for _ in range(question.n)]
        for prompt in _prompts(llm.tokenizer, question)
    ]


def _prompts(tokenizer: Tokenizer, question: Question) -> Sequence[Prompt]:
    if question.context:
        return [[*question.context, *tokenizer.encode_continuation(str(prompt))] for prompt in question.prompts]
    if question.suffix is None:
        return question.prompts
    if not all(isinstance(prompt, str) for prompt in question.prompts):
        raise ApiError(400, "A suffix goes with prompts that are text.", param="suffix")
    return [tokenizer.encode_infill(str(prompt), question.suffix) for prompt in question.prompts]


def _after(tokenizer: Tokenizer, context: Sequence[int], ids: list[int]) -> list[int]:
    """Ids that go on from others; a text has only one beginning."""
    return [*context, *(ids[1:] if context and ids[:1] == [tokenizer.bos_id] else ids)]


def prompt_ids(llm: LLM, question: Question) -> list[int]:
    """The tokens of the messages of a question, as a prompt. Raises as `shapes`."""
    prompt = shapes(llm, question)[0][0].prompt
    return llm.tokenizer.encode(prompt) if isinstance(prompt, str) else [int(token) for token in prompt]


def _of_chat(tokenizer: Tokenizer, question: Question) -> list[Shape]:
    use = ToolUse(tokenizer.chat_template, question.tools, question.tool_choice, question.parallel_tool_calls)
    options: dict[str, Any] = dict(question.template_kwargs)
    if question.thinking is not None:
        options.setdefault("enable_thinking", question.thinking)
    prompt = _after(tokenizer, question.context, use.encode(tokenizer, question.messages, **options))
    prompt += tokenizer.encode_continuation(question.prefill)
    grammar, tags = use.grammar(tokenizer, question.grammar), tags_of(tokenizer.chat_template)
    opened = tags is not None and is_open(tokenizer.decode(prompt[-TAIL:], skip_special=False, continuation=True), tags)
    if grammar is not None and tags is not None:
        grammar = after_thoughts(grammar, tags, opened, tokenizer)

    def parser() -> Parser:
        calls = use.parser() if use.tools else PlainText()
        return calls if tags is None or not question.parts_thinking else Chain(ThinkingParser(tags, opened), calls)

    return [Shape(prompt, parser(), grammar, (*use.special, *(tags or ()))) for _ in range(question.n)]

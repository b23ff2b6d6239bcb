"""What a question asks of the form of its answer: the prompt's tokens, the grammar, and how the text is parsed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sterna.engine.grammar import Grammar
from sterna.engine.llm import LLM
from sterna.engine.prompts import Prompt
from sterna.model.tokenizer import Tokenizer
from sterna.server.errors import ApiError
from sterna.server.events import Event, Parser, Text
from sterna.server.question import Question


@dataclass(frozen=True)
class Shape:
    """How one choice is generated and read; both state machines belong to it alone."""

    prompt: Prompt
    parser: Parser
    grammar: Grammar | None = None


class PlainText:
    """The parser of answers that are nothing but text."""

    def feed(self, text: str) -> list[Event]:
        return [Text(text)] if text else []

    def finish(self) -> list[Event]:
        return []


def shapes(llm: LLM, question: Question) -> list[list[Shape]]:
    """For each prompt one shape for each of its choices. Raises `ApiError` for what cannot be done, and as
    `Tokenizer.encode_chat`."""
    if question.tools and question.tool_choice != "none":
        raise ApiError(400, "This server cannot do tools yet.", param="tools")
    return [
        [Shape(prompt, PlainText(), question.grammar) for _ in range(question.n)]
        for prompt in _prompts(llm.tokenizer, question)
    ]


def _prompts(tokenizer: Tokenizer, question: Question) -> Sequence[Prompt]:
    if not question.prompts:
        ids = tokenizer.encode_chat(question.messages)
        return [_after(tokenizer, question.context, ids) + tokenizer.encode(question.prefill, add_special=False)]
    if question.context:
        texts = [str(prompt) for prompt in question.prompts]
        return [_after(tokenizer, question.context, tokenizer.encode(text)) for text in texts]
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

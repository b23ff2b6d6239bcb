"""Completions: what a request asks, and the reply to it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pydantic import Field

from sterna.model.tokenizer import Tokenizer
from sterna.server.answer import Piece, Usage, wholes
from sterna.server.openai.logprobs import CompletionLogprobs
from sterna.server.openai.sampling import MOST_LOGPROBS, Sampled, usage_body
from sterna.server.openai.stamp import Stamp
from sterna.server.question import Question

Prompts = str | list[int] | list[str] | list[list[int]]
"""One prompt or several, each of them text or token ids."""


class Completion(Sampled):
    """The body of a request."""

    prompt: Prompts
    suffix: str | None = None
    max_tokens: int | None = 16
    echo: bool = False
    logprobs: int | None = Field(None, ge=0, le=MOST_LOGPROBS)

    def question(self) -> Question:
        """What is asked. Raises `OptionError` for what cannot be."""
        return Question(
            self.params(self.logprobs, echo=self.echo),
            prompts=prompt_list(self.prompt),
            suffix=self.suffix,
            cache_prompt=self.cache_prompt,
            grammar=self.form(),
            n=self.n,
            lora=self.lora,
        )


def prompt_list(prompts: Prompts) -> list[str] | list[list[int]]:
    """Several prompts, where there may be one."""
    if isinstance(prompts, str):
        return [prompts]
    return [prompts] if isinstance(prompts[0], int) else prompts


def reply(
    body: Completion, tokenizer: Tokenizer, pieces: Iterable[Piece], usage: Usage, stamp: Stamp
) -> dict[str, Any]:
    """The whole reply to a request."""
    return {
        **stamp.head("text_completion", "cmpl"),
        "choices": [
            choice_body(index, choice.text, logprobs, choice.finish.reason)
            for index, choice in enumerate(wholes(pieces))
            if choice.finish is not None
            for logprobs in [CompletionLogprobs(tokenizer).body(choice.logprobs) if choice.logprobs else None]
        ],
        "usage": usage_body(usage),
    }


def choice_body(index: int, text: str, logprobs: dict[str, Any] | None, reason: str | None) -> dict[str, Any]:
    return {"index": index, "text": text, "logprobs": logprobs, "finish_reason": reason}

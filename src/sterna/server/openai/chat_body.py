"""Chat completions: what a request asks, and the reply to it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pydantic import Field

from sterna.model.tokenizer import Tokenizer
from sterna.server.answer import Piece, Usage, Whole, wholes
from sterna.server.errors import ApiError
from sterna.server.openai.forms import response_format
from sterna.server.openai.logprobs import chat_logprobs
from sterna.server.openai.messages import template_messages
from sterna.server.openai.sampling import MOST_LOGPROBS, Sampled, usage_body
from sterna.server.openai.stamp import Stamp
from sterna.server.question import Question


class Chat(Sampled):
    """The body of a request."""

    messages: list[dict[str, Any]]
    max_completion_tokens: int | None = None
    logprobs: bool = False
    top_logprobs: int = Field(0, ge=0, le=MOST_LOGPROBS)
    tools: list[dict[str, Any]] = []
    tool_choice: str | dict[str, Any] = "auto"
    parallel_tool_calls: bool = True
    response_format: dict[str, Any] = {"type": "text"}
    reasoning_effort: str | None = None
    reasoning_format: str = "auto"
    chat_template: str | None = None
    chat_template_kwargs: dict[str, Any] = {}

    def question(self) -> Question:
        """What is asked. Raises `ApiError` or `OptionError` for what cannot be."""
        if self.chat_template is not None:
            raise ApiError(400, "A template cannot be sent; the model's own is used.", param="chat_template")
        return Question(
            params=self.params(self.top_logprobs if self.logprobs else None, self.max_completion_tokens),
            messages=template_messages(self.messages),
            cache_prompt=self.cache_prompt,
            n=self.n,
            lora=self.lora,
            tools=self.tools,
            tool_choice=self.tool_choice,
            parallel_tool_calls=self.parallel_tool_calls,
            grammar=response_format(self.response_format) or self.form(),
            thinking=None if self.reasoning_effort is None else self.reasoning_effort != "none",
            parts_thinking=self.reasoning_format != "none",
            template_kwargs=self.chat_template_kwargs,
        )


def reply(body: Chat, tokenizer: Tokenizer, pieces: Iterable[Piece], usage: Usage, stamp: Stamp) -> dict[str, Any]:
    """The whole reply to a request."""
    return {
        **stamp.head("chat.completion", "chatcmpl"),
        "choices": [_choice(tokenizer, body, index, choice) for index, choice in enumerate(wholes(pieces))],
        "usage": usage_body(usage),
    }


def _choice(tokenizer: Tokenizer, body: Chat, index: int, choice: Whole) -> dict[str, Any]:
    assert choice.finish is not None
    # A message of nothing but calls has no content; one of nothing at all has an empty one.
    content = None if choice.calls and not choice.text else choice.text
    message: dict[str, Any] = {"role": "assistant", "content": content, "refusal": None}
    if choice.thinking:
        message["reasoning_content"] = choice.thinking
    if choice.calls:
        message["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in choice.calls
        ]
    return {
        "index": index,
        "message": message,
        "logprobs": chat_logprobs(tokenizer, choice.logprobs) if body.logprobs else None,
        "finish_reason": choice.finish.reason,
    }

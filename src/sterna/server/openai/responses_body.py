"""Responses: what a request asks, and the response to it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from pydantic import Field

from sterna.model.tokenizer import Tokenizer
from sterna.server.answer import Finish, Piece, Usage
from sterna.server.body import Body
from sterna.server.errors import ApiError
from sterna.server.events import Text
from sterna.server.openai.forms import response_format
from sterna.server.openai.response_input import input_messages
from sterna.server.openai.response_output import Output, Told
from sterna.server.openai.sampling import MOST_LOGPROBS, Sampled
from sterna.server.openai.stamp import Stamp
from sterna.server.question import Question


class Reasoning(Body):
    effort: str | None = None


class TextOptions(Body):
    format: dict[str, Any] = {"type": "text"}


class ResponseBody(Sampled):
    """The body of a request."""

    input: str | list[dict[str, Any]]
    instructions: str | None = None
    previous_response_id: str | None = None
    conversation: Any = None
    background: bool = False
    max_output_tokens: int | None = None
    tools: list[dict[str, Any]] = []
    tool_choice: str | dict[str, Any] = "auto"
    parallel_tool_calls: bool = True
    text: TextOptions = TextOptions()
    reasoning: Reasoning = Reasoning()
    top_logprobs: int | None = Field(None, ge=0, le=MOST_LOGPROBS)
    include: list[str] = []
    metadata: dict[str, str] = {}
    user: str | None = None

    def question(self) -> Question:
        """What is asked. Raises `ApiError` or `OptionError` for what cannot be."""
        for name in ("previous_response_id", "conversation", "background"):
            if getattr(self, name):
                raise ApiError(
                    400, f"This server keeps no responses, so there is no {name}; send the conversation.", param=name
                )
        return Question(
            params=self.params(self.logprobs(), self.max_output_tokens),
            messages=input_messages(self.input, self.instructions),
            tools=[_nested(tool) for tool in self.tools],
            tool_choice=self.tool_choice,
            parallel_tool_calls=self.parallel_tool_calls,
            lora=self.lora,
            grammar=response_format(self.text.format, "text.format") or self.form(),
            thinking=None if self.reasoning.effort is None else self.reasoning.effort != "none",
        )

    def logprobs(self) -> int | None:
        """How many of the most likely tokens are reported; None where nothing is."""
        asked = self.top_logprobs is not None or "message.output_text.logprobs" in self.include
        return (self.top_logprobs or 0) if asked else None


def _nested(tool: dict[str, Any]) -> dict[str, Any]:
    """A function in the form of chat completions. Raises `ApiError` for other tools."""
    if tool.get("type") != "function":
        raise ApiError(400, f"Tools are functions; this server has no {tool.get('type')!r}.", param="tools")
    return {"type": "function", "function": {name: value for name, value in tool.items() if name != "type"}}


def reply(
    body: ResponseBody, tokenizer: Tokenizer, pieces: Iterable[Piece], usage: Usage, stamp: Stamp
) -> dict[str, Any]:
    """The whole response to a request."""
    writer = Writer(body, tokenizer, stamp)
    for piece in pieces:
        list(writer.add(piece, usage))
    return writer.response


class Writer:
    """A response while it is made."""

    def __init__(self, body: ResponseBody, tokenizer: Tokenizer, stamp: Stamp) -> None:
        self._output = Output(stamp.key, None if body.logprobs() is None else tokenizer)
        self.response: dict[str, Any] = {
            "id": f"resp_{stamp.key}",
            "object": "response",
            "created_at": stamp.created,
            "status": "in_progress",
            "background": False,
            "error": None,
            "incomplete_details": None,
            "instructions": body.instructions,
            "max_output_tokens": body.max_output_tokens,
            "metadata": body.metadata,
            "model": stamp.model,
            "output": [],
            "parallel_tool_calls": body.parallel_tool_calls,
            "previous_response_id": None,
            "reasoning": {"effort": body.reasoning.effort, "summary": None},
            "store": False,
            "temperature": body.temperature,
            "text": {"format": body.text.format},
            "tool_choice": body.tool_choice,
            "tools": body.tools,
            "top_logprobs": body.top_logprobs or 0,
            "top_p": body.top_p,
            "truncation": "disabled",
            "usage": None,
            "user": body.user,
        }

    def begin(self) -> Iterator[Told]:
        """The events before the first item."""
        for kind in ("response.created", "response.in_progress"):
            yield {"type": kind, "response": self.response}

    def add(self, piece: Piece, usage: Usage) -> Iterator[Told]:
        """The events that a piece makes, to the end of the response with the last one."""
        logprobs = piece.logprobs
        for event in piece.events:
            yield from self._output.add(event, logprobs)
            if isinstance(event, Text):
                logprobs = []
        if piece.finish is not None:
            yield from self._end(piece.finish, usage)

    def _end(self, finish: Finish, usage: Usage) -> Iterator[Told]:
        status = "incomplete" if finish.reason == "length" else "completed"
        yield from self._output.close(status)
        details = {"reason": "max_output_tokens"} if status == "incomplete" else None
        self.response |= {
            "status": status,
            "incomplete_details": details,
            "output": self._output.items,
            "usage": {
                "input_tokens": usage.prompt,
                "input_tokens_details": {"cached_tokens": usage.cached},
                "output_tokens": usage.completion,
                "output_tokens_details": {"reasoning_tokens": usage.reasoning},
                "total_tokens": usage.prompt + usage.completion,
            },
        }
        yield {"type": f"response.{status}", "response": self.response}

"""`/v1/responses`, without a memory: each request carries its whole conversation."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from fastapi import APIRouter
from pydantic import Field
from starlette.responses import Response

from sterna.model.tokenizer import Tokenizer
from sterna.server.answers import Finish, Piece, Usage, all_pieces, answering
from sterna.server.dialect import Body, KnownModels
from sterna.server.errors import ApiError
from sterna.server.events import Text
from sterna.server.json_text import Json
from sterna.server.models import Models
from sterna.server.openai.errors import error_body
from sterna.server.openai.forms import response_format
from sterna.server.openai.reply import Stamp
from sterna.server.openai.response_input import input_messages
from sterna.server.openai.response_output import Output, Told
from sterna.server.openai.sampling import MOST_LOGPROBS, Sampled
from sterna.server.question import Question
from sterna.server.sse import PING, Chunks, sse, streamed

router = APIRouter()


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


@router.post("/responses")
async def respond(body: ResponseBody, models: KnownModels) -> Response:
    """Answers an input."""
    question = body.question()
    if body.stream:
        numbers = _Numbered()
        return await streamed(_chunks(models, body, question, numbers), numbers.failed)
    async with models.use(body.model) as served, answering(served, question) as answer:
        tokenizer, stamp = served.llm.tokenizer, Stamp(served.name)
        pieces = await all_pieces(answer)
        return Json(reply(body, tokenizer, pieces, answer.usage, stamp))


def reply(
    body: ResponseBody, tokenizer: Tokenizer, pieces: Iterable[Piece], usage: Usage, stamp: Stamp
) -> dict[str, Any]:
    """The whole response to a request."""
    writer = _Writer(body, tokenizer, stamp)
    for piece in pieces:
        list(writer.add(piece, usage))
    return writer.response


async def _chunks(models: Models, body: ResponseBody, question: Question, numbers: _Numbered) -> Chunks:
    async with models.use(body.model) as served, answering(served, question) as answer:
        writer = _Writer(body, served.llm.tokenizer, Stamp(served.name))
        yield numbers.events(writer.begin())
        async for pieces in answer:
            yield b"".join(numbers.events(writer.add(piece, answer.usage)) for piece in pieces) or PING


class _Numbered:
    """Events of one stream, which are numbered."""

    def __init__(self) -> None:
        self._next = 0

    def events(self, events: Iterable[Told]) -> bytes:
        chunk = b""
        for event in events:
            chunk += sse({**event, "sequence_number": self._next}, event["type"])
            self._next += 1
        return chunk

    def failed(self, error: ApiError) -> bytes:
        """OpenAI's client raises an error for an `error` that is nested, and the API's description has a flat one."""
        nested = error_body(error)
        return self.events([{**nested["error"], **nested, "type": "error"}])


class _Writer:
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

"""`/v1/chat/completions`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from fastapi import APIRouter
from pydantic import Field
from starlette.responses import Response

from sterna.model.tokenizer import Tokenizer
from sterna.server.answers import Piece, Usage, Whole, all_pieces, answering, wholes
from sterna.server.dialect import KnownModels
from sterna.server.errors import ApiError
from sterna.server.events import CallArguments, CallStart, Event, Text, Thinking
from sterna.server.json_text import Json
from sterna.server.models import Models
from sterna.server.openai.errors import error_event
from sterna.server.openai.forms import response_format
from sterna.server.openai.logprobs import chat_logprobs
from sterna.server.openai.messages import template_messages
from sterna.server.openai.reply import DONE, Reply, Stamp
from sterna.server.openai.sampling import MOST_LOGPROBS, Sampled, usage_body
from sterna.server.openai.timings import timings_body
from sterna.server.question import Question
from sterna.server.sse import Chunks, streamed

router = APIRouter()


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
            tools=self.tools,
            tool_choice=self.tool_choice,
            parallel_tool_calls=self.parallel_tool_calls,
            grammar=response_format(self.response_format) or self.form(),
            thinking=None if self.reasoning_effort is None else self.reasoning_effort != "none",
            parts_thinking=self.reasoning_format != "none",
            template_kwargs=self.chat_template_kwargs,
        )


@router.post("/chat/completions")
async def chat(body: Chat, models: KnownModels) -> Response:
    """Answers messages."""
    question = body.question()
    if body.stream:
        return await streamed(_chunks(models, body, question), error_event)
    async with models.use(body.model) as served, answering(served, question) as answer:
        pieces = await all_pieces(answer)
        whole = reply(body, served.llm.tokenizer, pieces, answer.usage, Stamp(served.name))
        return Json({**whole, "timings": timings_body(answer)})


def reply(body: Chat, tokenizer: Tokenizer, pieces: Iterable[Piece], usage: Usage, stamp: Stamp) -> dict[str, Any]:
    """The whole reply to a request."""
    return Reply("chat.completion", "chatcmpl", stamp).body(
        choices=[_choice(tokenizer, body, index, choice) for index, choice in enumerate(wholes(pieces))],
        usage=usage_body(usage),
    )


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


async def _chunks(models: Models, body: Chat, question: Question) -> Chunks:
    async with models.use(body.model) as served, answering(served, question) as answer:
        reply = Reply("chat.completion.chunk", "chatcmpl", Stamp(served.name))
        more = {"usage": None} if body.stream_options.include_usage else {}
        start = {"role": "assistant", "content": ""}
        starts = b"".join(reply.chunk(_delta(index, start), **more) for index in range(body.n))
        yield starts + (reply.progress(answer) if body.return_progress else b"")
        async for pieces in answer:
            end = {"timings": timings_body(answer)} if answer.ended else {}
            yield (
                b"".join(
                    reply.chunk(delta, **more, **(end if delta["finish_reason"] else {}))
                    for piece in pieces
                    for delta in _deltas(served.llm.tokenizer, body, piece)
                )
                or reply.no_news(answer, body.return_progress)
            )
        yield (reply.chunk(usage=usage_body(answer.usage)) if more else b"") + DONE


def _deltas(tokenizer: Tokenizer, body: Chat, piece: Piece) -> Iterator[dict[str, Any]]:
    """What a piece adds to its choice. Its log-probabilities come with the first of its events."""
    logprobs = chat_logprobs(tokenizer, piece.logprobs) if piece.logprobs else None
    for event in piece.events:
        yield _delta(piece.choice, _added(event), logprobs)
        logprobs = None
    if logprobs or piece.finish:
        yield _delta(piece.choice, {}, logprobs, piece.finish.reason if piece.finish else None)


def _added(event: Event) -> dict[str, Any]:
    match event:
        case Text(text):
            return {"content": text}
        case Thinking(text):
            return {"reasoning_content": text}
        case CallStart(index, id, name):
            function: dict[str, str] = {"name": name, "arguments": ""}
            return {"tool_calls": [{"index": index, "id": id, "type": "function", "function": function}]}
        case CallArguments(index, text):
            return {"tool_calls": [{"index": index, "function": {"arguments": text}}]}


def _delta(
    index: int, delta: dict[str, Any], logprobs: dict[str, Any] | None = None, finish_reason: str | None = None
) -> dict[str, Any]:
    return {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": finish_reason}

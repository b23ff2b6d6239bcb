"""`/v1/chat/completions`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fastapi import APIRouter
from starlette.responses import Response

from sterna.model.tokenizer import Tokenizer
from sterna.server.answer import Piece
from sterna.server.answers import all_pieces, answering
from sterna.server.dialect import KnownModels
from sterna.server.events import CallArguments, CallStart, Event, Text, Thinking
from sterna.server.json_reply import Json
from sterna.server.models import Models
from sterna.server.openai.chat_body import Chat, reply
from sterna.server.openai.errors import error_event
from sterna.server.openai.logprobs import chat_logprobs
from sterna.server.openai.reply import DONE, Reply
from sterna.server.openai.sampling import usage_body
from sterna.server.openai.stamp import Stamp
from sterna.server.openai.timings import timings_body
from sterna.server.question import Question
from sterna.server.sse import Chunks
from sterna.server.streaming import streamed

router = APIRouter()


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

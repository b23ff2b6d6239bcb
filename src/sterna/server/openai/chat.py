"""`/v1/chat/completions`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fastapi import APIRouter
from starlette.responses import Response

from sterna.model.tokenizer import Tokenizer
from sterna.server.answer import Piece
from sterna.server.dialect import KnownModels
from sterna.server.events import CallArguments, CallStart, Event, Text, Thinking
from sterna.server.openai.chat_body import Chat, reply
from sterna.server.openai.logprobs import chat_logprobs
from sterna.server.openai.reply import Choice, Endpoint, answered

router = APIRouter()


class _Writer:
    """Writes choices with what is new as their `delta`."""

    def __init__(self, body: Chat, tokenizer: Tokenizer) -> None:
        self._n, self._tokenizer = body.n, tokenizer

    def begin(self) -> list[Choice]:
        """The role of each choice."""
        return [_delta(index, {"role": "assistant", "content": ""}) for index in range(self._n)]

    def add(self, piece: Piece) -> Iterator[Choice]:
        """The log-probabilities of a piece come with the first of its events."""
        logprobs = chat_logprobs(self._tokenizer, piece.logprobs) if piece.logprobs else None
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
) -> Choice:
    return {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": finish_reason}


_ENDPOINT = Endpoint("chat.completion.chunk", "chatcmpl", reply, _Writer)


@router.post("/chat/completions")
async def chat(body: Chat, models: KnownModels) -> Response:
    """Answers messages."""
    return await answered(models, body, body.question(), _ENDPOINT)

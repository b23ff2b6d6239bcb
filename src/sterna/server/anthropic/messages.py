"""`/v1/messages` and `/v1/messages/count_tokens`."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from fastapi import APIRouter
from pydantic import Field
from starlette.responses import Response

from sterna.engine.sampling import SamplingParams
from sterna.server.answers import answering
from sterna.server.anthropic.conversation import (
    function_choice,
    functions,
    split_prefill,
    template_messages,
)
from sterna.server.anthropic.errors import error_event
from sterna.server.anthropic.output import Message, Told
from sterna.server.body import Body
from sterna.server.dialect import KnownModels
from sterna.server.json_reply import Json
from sterna.server.models import Models
from sterna.server.openai.forms import response_format
from sterna.server.openai.sampling import MOST_STOPS
from sterna.server.question import Question
from sterna.server.shape import prompt_ids
from sterna.server.sse import Chunks, sse
from sterna.server.streaming import streamed

router = APIRouter()

PING = sse({"type": "ping"}, "ping")


class OutputConfig(Body):
    format: dict[str, Any] = {"type": "text"}


class Conversation(Body):
    """What both endpoints have in common: all that a prompt is made of."""

    model: str | None = None
    messages: list[dict[str, Any]]
    system: str | list[dict[str, Any]] = ""
    tools: list[dict[str, Any]] = []
    tool_choice: dict[str, Any] = {"type": "auto"}
    thinking: dict[str, Any] = {}
    output_config: OutputConfig = OutputConfig()

    def asked(self, params: SamplingParams) -> Question:
        """What is asked. Raises `ApiError` for what cannot be."""
        messages, prefill = split_prefill(self.messages)
        return Question(
            params,
            messages=template_messages(self.system, messages),
            prefill=prefill,
            tools=functions(self.tools),
            tool_choice=function_choice(self.tool_choice),
            parallel_tool_calls=not self.tool_choice.get("disable_parallel_tool_use"),
            grammar=response_format(self.output_config.format, "output_config"),
            thinking={"enabled": True, "disabled": False}.get(str(self.thinking.get("type"))),
        )


class MessageBody(Conversation):
    """The body of a request. `seed` is ours."""

    max_tokens: int = Field(ge=1)
    stream: bool = False
    stop_sequences: list[str] = Field([], max_length=MOST_STOPS)
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    seed: int | None = None

    def question(self) -> Question:
        """What is asked. Raises `ApiError` or `OptionError` for what cannot be."""
        return self.asked(
            SamplingParams(
                max_tokens=self.max_tokens,
                temperature=self.temperature,
                top_p=self.top_p,
                top_k=max(self.top_k, 0),
                seed=None if self.seed is None else self.seed % 2**64,
                stop=tuple(text for text in self.stop_sequences if text),
            )
        )


@router.post("/messages")
async def create_message(body: MessageBody, models: KnownModels) -> Response:
    """Answers a conversation."""
    question = body.question()
    if body.stream:
        return await streamed(_chunks(models, body, question), error_event)
    async with models.use(body.model) as served, answering(served, question) as answer:
        message = Message(served.name, answer.usage, body.max_tokens)
        async for pieces in answer:
            for piece in pieces:
                for event in piece.events:
                    list(message.add(event))
                if piece.finish is not None:
                    list(message.end(piece.finish, answer.usage))
    return Json(message.whole)


async def _chunks(models: Models, body: MessageBody, question: Question) -> Chunks:
    async with models.use(body.model) as served, answering(served, question) as answer:
        message = Message(served.name, answer.usage, body.max_tokens)
        yield _events(message.begin()) + PING
        async for pieces in answer:
            chunk = b""
            for piece in pieces:
                for event in piece.events:
                    chunk += _events(message.add(event))
                if piece.finish is not None:
                    chunk += _events(message.end(piece.finish, answer.usage))
            yield chunk or PING


def _events(told: Iterable[Told]) -> bytes:
    return b"".join(sse(each, each["type"]) for each in told)


@router.post("/messages/count_tokens")
async def count_tokens(body: Conversation, models: KnownModels) -> Response:
    """How many tokens a conversation has as a prompt."""
    question = body.asked(SamplingParams())
    async with models.use(body.model) as served:
        return Json({"input_tokens": len(await asyncio.to_thread(prompt_ids, served.llm, question))})

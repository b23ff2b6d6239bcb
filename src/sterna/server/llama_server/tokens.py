"""`/tokenize`, `/detokenize`, `/apply-template`: what a model sees of a text."""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import APIRouter
from starlette.responses import Response

from sterna.engine.sampling import SamplingParams
from sterna.model.tokenizer import Tokenizer
from sterna.server.body import Body
from sterna.server.dialect import KnownModels
from sterna.server.json_reply import Json
from sterna.server.openai.messages import template_messages
from sterna.server.question import Question
from sterna.server.shape import prompt_ids

router = APIRouter()


class Tokenize(Body):
    """The body of a request. Special tokens are recognised in the text unless `parse_special` is false."""

    model: str | None = None
    content: str = ""
    add_special: bool = False
    parse_special: bool = True
    with_pieces: bool = False


@router.post("/tokenize")
async def tokenize(body: Tokenize, models: KnownModels) -> Response:
    """The tokens of a text."""

    def tokens(tokenizer: Tokenizer) -> list[Any]:
        ids = tokenizer.encode(body.content, body.add_special, body.parse_special)
        return [{"id": token, "piece": _piece(tokenizer, token)} for token in ids] if body.with_pieces else list(ids)

    async with models.use(body.model) as served:
        return Json({"tokens": await asyncio.to_thread(tokens, served.llm.tokenizer)})


def _piece(tokenizer: Tokenizer, token: int) -> str | list[int]:
    """The text of a token; its bytes, where they are a part of a character."""
    data = tokenizer.token_bytes(token)
    try:
        return data.decode()
    except UnicodeDecodeError:
        return list(data)


class Detokenize(Body):
    """The body of a request."""

    model: str | None = None
    tokens: list[int] = []


@router.post("/detokenize")
async def detokenize(body: Detokenize, models: KnownModels) -> Response:
    """The text of tokens, special ones by their names."""
    async with models.use(body.model) as served:
        decode = served.llm.tokenizer.decode
        return Json({"content": await asyncio.to_thread(decode, body.tokens, skip_special=False, continuation=True)})


class ApplyTemplate(Body):
    """The body of a request."""

    model: str | None = None
    messages: list[dict[str, Any]]
    tools: list[dict[str, Any]] = []
    chat_template_kwargs: dict[str, Any] = {}


@router.post("/apply-template")
async def apply_template(body: ApplyTemplate, models: KnownModels) -> Response:
    """The prompt that a conversation becomes: the text of its tokens, special ones by their names."""
    question = Question(
        SamplingParams(),
        messages=template_messages(body.messages),
        tools=body.tools,
        template_kwargs=body.chat_template_kwargs,
    )
    async with models.use(body.model) as served:

        def prompt() -> str:
            return served.llm.tokenizer.decode(prompt_ids(served.llm, question), skip_special=False, continuation=True)

        return Json({"prompt": await asyncio.to_thread(prompt)})

"""`/v1/responses`, without a memory: each request carries its whole conversation."""

from __future__ import annotations

from collections.abc import Iterable

from fastapi import APIRouter
from starlette.responses import Response

from sterna.server.answers import all_pieces, answering
from sterna.server.dialect import KnownModels
from sterna.server.errors import ApiError
from sterna.server.json_reply import Json
from sterna.server.models import Models
from sterna.server.openai.errors import error_body
from sterna.server.openai.response_output import Told
from sterna.server.openai.responses_body import ResponseBody, Writer, reply
from sterna.server.openai.stamp import Stamp
from sterna.server.question import Question
from sterna.server.sse import PING, Chunks, sse
from sterna.server.streaming import streamed

router = APIRouter()


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


async def _chunks(models: Models, body: ResponseBody, question: Question, numbers: _Numbered) -> Chunks:
    async with models.use(body.model) as served, answering(served, question) as answer:
        writer = Writer(body, served.llm.tokenizer, Stamp(served.name))
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

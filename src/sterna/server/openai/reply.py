"""The reply to a chat or a completion: a stream of chunks, or one body."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from starlette.responses import Response

from sterna.model.tokenizer import Tokenizer
from sterna.server.answer import Piece, Usage
from sterna.server.answers import all_pieces, answering
from sterna.server.json_reply import Json
from sterna.server.models import Models
from sterna.server.openai.errors import error_event
from sterna.server.openai.sampling import Sampled, usage_body
from sterna.server.openai.stamp import Stamp
from sterna.server.openai.timings import progress_body, timings_body
from sterna.server.question import Question
from sterna.server.sse import PING, Chunks, sse
from sterna.server.streaming import streamed

PROGRESS_EVERY = 0.25
"""Seconds between two reports on a prompt."""

DONE = b"data: [DONE]\n\n"
"""The end of every stream that did not break off."""

Choice = dict[str, Any]
"""An entry of the `choices` of a chunk."""


class Writer(Protocol):
    """Writes the choices of one stream."""

    def begin(self) -> Iterable[Choice]:
        """What comes before the first piece, each in a chunk of its own."""

    def add(self, piece: Piece) -> Iterable[Choice]:
        """What a piece adds, each in a chunk of its own. The last of a choice has a `finish_reason`."""


B = TypeVar("B", bound=Sampled)


@dataclass(frozen=True)
class Endpoint(Generic[B]):
    """How an endpoint writes its replies to bodies of the type `B`."""

    chunk_object: str
    """The `object` of a chunk."""
    id_prefix: str
    """What the ids of its replies begin with."""
    whole: Callable[[B, Tokenizer, Iterable[Piece], Usage, Stamp], dict[str, Any]]
    """Makes the reply that is no stream."""
    writer: Callable[[B, Tokenizer], Writer]


async def answered(models: Models, body: B, question: Question, endpoint: Endpoint[B]) -> Response:
    """The reply to a request. Raises as `Models.use` and `Answer`."""
    if body.stream:
        return await streamed(_chunks(models, body, question, endpoint), error_event)
    async with models.use(body.model) as served, answering(served, question) as answer:
        pieces = await all_pieces(answer)
        whole = endpoint.whole(body, served.llm.tokenizer, pieces, answer.usage, Stamp(served.name))
        return Json({**whole, "timings": timings_body(answer)})


async def _chunks(models: Models, body: B, question: Question, endpoint: Endpoint[B]) -> Chunks:
    async with models.use(body.model) as served, answering(served, question) as answer:
        writer = endpoint.writer(body, served.llm.tokenizer)
        head = Stamp(served.name).head(endpoint.chunk_object, endpoint.id_prefix)
        # With `include_usage` every chunk has the field, which only the last one fills (OpenAI's API reference).
        more = {"usage": None} if body.stream_options.include_usage else {}

        def chunk(*choices: Choice, **fields: Any) -> bytes:
            return sse({**head, "choices": choices, **fields})

        def progress() -> bytes:
            """How far the prompts are. The answer shall say soon whether it has news."""
            answer.patience = PROGRESS_EVERY
            return chunk(prompt_progress=progress_body(answer))

        def no_news() -> bytes:
            """A sign of life: how far the prompts are, as long as that is asked for and they are not complete, else a
            comment."""
            if body.return_progress and not answer.usage.completion:
                return progress()
            answer.patience = None
            return PING

        begun = b"".join(chunk(choice, **more) for choice in writer.begin())
        yield begun + (progress() if body.return_progress else b"") or PING
        async for pieces in answer:
            end = {"timings": timings_body(answer)} if answer.ended else {}
            yield (
                b"".join(
                    chunk(choice, **more, **(end if choice["finish_reason"] else {}))
                    for piece in pieces
                    for choice in writer.add(piece)
                )
                or no_news()
            )
        yield (chunk(usage=usage_body(answer.usage)) if more else b"") + DONE

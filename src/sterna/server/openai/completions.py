"""`/v1/completions`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from fastapi import APIRouter
from pydantic import Field
from starlette.responses import Response

from sterna.model.tokenizer import Tokenizer
from sterna.server.answers import Piece, Usage, all_pieces, answering, wholes
from sterna.server.dialect import KnownModels
from sterna.server.events import Text
from sterna.server.json_text import Json
from sterna.server.models import Models
from sterna.server.openai.errors import error_event
from sterna.server.openai.logprobs import CompletionLogprobs
from sterna.server.openai.reply import DONE, Reply, Stamp
from sterna.server.openai.sampling import MOST_LOGPROBS, Sampled, usage_body
from sterna.server.openai.timings import timings_body
from sterna.server.question import Question
from sterna.server.sse import PING, Chunks, streamed

router = APIRouter()


Prompts = str | list[int] | list[str] | list[list[int]]
"""One prompt or several, each of them text or token ids."""


class Completion(Sampled):
    """The body of a request."""

    prompt: Prompts
    suffix: str | None = None
    max_tokens: int | None = 16
    echo: bool = False
    logprobs: int | None = Field(None, ge=0, le=MOST_LOGPROBS)

    def question(self) -> Question:
        """What is asked. Raises `OptionError` for what cannot be."""
        return Question(
            self.params(self.logprobs, echo=self.echo),
            prompts=prompt_list(self.prompt),
            suffix=self.suffix,
            cache_prompt=self.cache_prompt,
            grammar=self.form(),
            n=self.n,
        )


def prompt_list(prompts: Prompts) -> list[str] | list[list[int]]:
    """Several prompts, where there may be one."""
    if isinstance(prompts, str):
        return [prompts]
    return [prompts] if isinstance(prompts[0], int) else prompts


@router.post("/completions")
async def complete(body: Completion, models: KnownModels) -> Response:
    """Continues prompts."""
    question = body.question()
    if body.stream:
        return await streamed(_chunks(models, body, question), error_event)
    async with models.use(body.model) as served, answering(served, question) as answer:
        pieces = await all_pieces(answer)
        whole = reply(body, served.llm.tokenizer, pieces, answer.usage, Stamp(served.name))
        return Json({**whole, "timings": timings_body(answer)})


def reply(
    body: Completion, tokenizer: Tokenizer, pieces: Iterable[Piece], usage: Usage, stamp: Stamp
) -> dict[str, Any]:
    """The whole reply to a request."""
    return Reply("text_completion", "cmpl", stamp).body(
        choices=[
            _choice(index, choice.text, logprobs, choice.finish.reason)
            for index, choice in enumerate(wholes(pieces))
            if choice.finish is not None
            for logprobs in [CompletionLogprobs(tokenizer).body(choice.logprobs) if choice.logprobs else None]
        ],
        usage=usage_body(usage),
    )


async def _chunks(models: Models, body: Completion, question: Question) -> Chunks:
    async with models.use(body.model) as served, answering(served, question) as answer:
        reply = Reply("text_completion", "cmpl", Stamp(served.name))
        more = {"usage": None} if body.stream_options.include_usage else {}
        writers = [CompletionLogprobs(served.llm.tokenizer) for _ in range(len(question.prompts) * body.n)]
        yield reply.progress(answer) if body.return_progress else PING
        async for pieces in answer:
            end, chunks = {"timings": timings_body(answer)} if answer.ended else {}, b""
            for piece in pieces:
                text = "".join(event.text for event in piece.events if isinstance(event, Text))
                logprobs = writers[piece.choice].body(piece.logprobs) if piece.logprobs else None
                reason = piece.finish.reason if piece.finish else None
                if text or logprobs or reason:
                    choice = _choice(piece.choice, text, logprobs, reason)
                    chunks += reply.chunk(choice, **more, **(end if reason else {}))
            yield chunks or reply.no_news(answer, body.return_progress)
        yield (reply.chunk(usage=usage_body(answer.usage)) if more else b"") + DONE


def _choice(index: int, text: str, logprobs: dict[str, Any] | None, reason: str | None) -> dict[str, Any]:
    return {"index": index, "text": text, "logprobs": logprobs, "finish_reason": reason}

"""`/v1/completions`."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import Response

from sterna.server.answers import all_pieces, answering
from sterna.server.dialect import KnownModels
from sterna.server.events import Text
from sterna.server.json_reply import Json
from sterna.server.models import Models
from sterna.server.openai.completions_body import Completion, choice_body, reply
from sterna.server.openai.errors import error_event
from sterna.server.openai.logprobs import CompletionLogprobs
from sterna.server.openai.reply import DONE, Reply
from sterna.server.openai.sampling import usage_body
from sterna.server.openai.stamp import Stamp
from sterna.server.openai.timings import timings_body
from sterna.server.question import Question
from sterna.server.sse import PING, Chunks
from sterna.server.streaming import streamed

router = APIRouter()


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
                    choice = choice_body(piece.choice, text, logprobs, reason)
                    chunks += reply.chunk(choice, **more, **(end if reason else {}))
            yield chunks or reply.no_news(answer, body.return_progress)
        yield (reply.chunk(usage=usage_body(answer.usage)) if more else b"") + DONE

"""The replies to a chat or a generation: lines, or one body."""

from __future__ import annotations

from collections.abc import AsyncIterator

from starlette.responses import Response

from sterna.server.answer import Answer, Finish
from sterna.server.answers import answering
from sterna.server.json_reply import Json
from sterna.server.models import Models
from sterna.server.ollama.asked import Asked
from sterna.server.ollama.names import keep_alive_seconds
from sterna.server.ollama.output import Part, Parts
from sterna.server.ollama.reply import NDJSON, Reply, error_line, line, nanoseconds
from sterna.server.openai.logprobs import chat_logprobs
from sterna.server.sse import Chunks
from sterna.server.streaming import streamed


async def answer_body(models: Models, body: Asked) -> Response:
    """The reply to a request."""
    reply = Reply(body.named())
    if body.stream:
        return await streamed(_lines(models, body, reply), error_line, NDJSON)
    whole = Part()
    async for part in _parts(models, body, reply):
        whole.add(part)
    return Json(reply.body(done=True, **body.shown(whole), **(whole.last or {})))


async def load_body(models: Models, body: Asked) -> Response:
    """The reply to a request that asks nothing, but has a model loaded or, with a `keep_alive` of 0, unloaded."""
    reply, known = Reply(body.named()), models.find(body.known_name(models))
    unloads = keep_alive_seconds(body.keep_alive) == 0
    if not unloads or any(served.name == known.loads for served in models.loaded()):
        async with body.use(models):
            pass
    reply.loaded(known.name)
    return Json(reply.body(done=True, **body.shown(Part()), done_reason="unload" if unloads else "load"))


async def _lines(models: Models, body: Asked, reply: Reply) -> Chunks:
    async for part in _parts(models, body, reply):
        if part.last is None:
            yield line(reply.body(**body.shown(part)))
        else:
            rest, end = Part(part.text, part.thinking, part.calls, part.logprobs), Part()
            chunk = line(reply.body(**body.shown(rest))) if rest != Part() else b""
            yield chunk + line(reply.body(done=True, **body.shown(end), **part.last))


async def _parts(models: Models, body: Asked, reply: Reply) -> AsyncIterator[Part]:
    """The parts of an answer. An empty one is a sign of life."""
    async with body.use(models) as served:
        reply.loaded(served.name)
        async with answering(served, body.question(served.llm.tokenizer)) as answer:
            parts = Parts()
            async for pieces in answer:
                if not pieces:
                    yield Part()
                for piece in pieces:
                    part = parts.part(piece)
                    part.logprobs = chat_logprobs(served.llm.tokenizer, piece.logprobs)["content"]
                    if piece.finish is not None:
                        part.last = {**_counts(reply, answer, piece.finish), **body.closing(answer)}
                    yield part


def _counts(reply: Reply, answer: Answer, finish: Finish) -> dict[str, str | int]:
    usage, timings = answer.usage, answer.timings
    return {
        "done_reason": "length" if finish.reason == "length" else "stop",
        **reply.durations(),
        "prompt_eval_count": usage.prompt,
        "prompt_eval_duration": nanoseconds(timings.prompt),
        "eval_count": usage.completion,
        "eval_duration": nanoseconds(timings.completion),
    }

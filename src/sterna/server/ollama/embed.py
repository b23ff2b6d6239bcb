"""`/api/embed`, and the older `/api/embeddings`."""

from __future__ import annotations

from fastapi import APIRouter
from pydantic import Field
from starlette.responses import Response

from sterna.server.dialect import KnownModels
from sterna.server.embedding import embed
from sterna.server.json_reply import Json
from sterna.server.ollama.names import NamedBody
from sterna.server.ollama.reply import Reply

router = APIRouter()


class Embed(NamedBody):
    """The body of a request."""

    input: str | list[str] = []
    truncate: bool = True
    dimensions: int | None = Field(None, ge=1)


class Embeddings(NamedBody):
    """The body of an older request."""

    prompt: str = ""


@router.post("/embed")
async def embed_texts(body: Embed, models: KnownModels) -> Response:
    """One vector for each text."""
    reply = Reply(body.named())
    texts = [body.input] if isinstance(body.input, str) else body.input
    async with body.use(models) as served:
        reply.loaded(served.name)
        vectors, tokens = await embed(served, texts, body.dimensions, truncate=body.truncate)
    return Json(
        {
            "model": body.named() or served.name,
            "embeddings": vectors.tolist(),
            **reply.durations(),
            "prompt_eval_count": tokens,
        }
    )


@router.post("/embeddings")
async def embed_prompt(body: Embeddings, models: KnownModels) -> Response:
    """The vector of a text."""
    async with body.use(models) as served:
        vectors, _ = await embed(served, [body.prompt], truncate=True)
    return Json({"embedding": vectors[0].tolist()})

"""`/v1/embeddings`."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import Response

from sterna.server.dialect import KnownModels
from sterna.server.embedding import embed
from sterna.server.json_reply import Json
from sterna.server.openai.completions_body import prompt_list
from sterna.server.openai.embeddings_body import Embeddings, reply

router = APIRouter()


@router.post("/embeddings")
async def embeddings(body: Embeddings, models: KnownModels) -> Response:
    """Vectors of texts or of token ids."""
    async with models.use(body.model) as served:
        vectors, tokens = await embed(served, prompt_list(body.input), body.dimensions, lora=body.lora)
    return Json(reply(body, vectors, tokens, served.name))

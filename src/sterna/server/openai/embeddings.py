"""`/v1/embeddings`."""

from __future__ import annotations

import base64
from typing import Any, Literal

import numpy as np
from fastapi import APIRouter
from pydantic import Field
from starlette.responses import Response

from sterna.server.dialect import Body, KnownModels
from sterna.server.embedding import embed
from sterna.server.json_text import Json
from sterna.server.openai.completions import Prompts, prompt_list

router = APIRouter()


class Embeddings(Body):
    """The body of a request."""

    model: str | None = None
    input: Prompts
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = Field(None, ge=1)


@router.post("/embeddings")
async def embeddings(body: Embeddings, models: KnownModels) -> Response:
    """Vectors of texts or of token ids."""
    async with models.use(body.model) as served:
        vectors, tokens = await embed(served, prompt_list(body.input), body.dimensions)
    return Json(reply(body, vectors, tokens, served.name))


def reply(body: Embeddings, vectors: np.ndarray, tokens: int, model: str) -> dict[str, Any]:
    """The whole reply to a request. `vectors`: float32 `[n, dimensions]`."""
    return {
        "object": "list",
        "data": [
            {"object": "embedding", "index": index, "embedding": _encoded(vector, body.encoding_format)}
            for index, vector in enumerate(vectors)
        ],
        "model": model,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }


def _encoded(vector: np.ndarray, encoding: str) -> Any:
    """The numbers, or their bytes as little-endian float32 in base64."""
    return vector.tolist() if encoding == "float" else base64.b64encode(vector.astype("<f4").tobytes()).decode()

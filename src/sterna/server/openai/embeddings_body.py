"""Embeddings: what a request asks, and the reply to it."""

from __future__ import annotations

import base64
from typing import Any, Literal

import numpy as np
from pydantic import Field

from sterna.server.body import Body
from sterna.server.openai.completions_body import Prompts


class Embeddings(Body):
    """The body of a request."""

    model: str | None = None
    input: Prompts
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = Field(None, ge=1)
    lora: dict[str, float] = {}


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

"""Vectors of texts, in no dialect."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import numpy as np

from sterna.engine.prompts import Prompt
from sterna.engine.request import Request
from sterna.server.inbox import Inbox
from sterna.server.models import Served


async def embed(served: Served, texts: Sequence[Prompt], dimensions: int | None = None) -> tuple[np.ndarray, int]:
    """One vector a text, float32 `[n, hidden_size]` of length 1, and how many tokens the texts have. `dimensions` keeps
    that many of the first numbers, and makes the length 1 again. Raises as `LLM.embed`."""
    llm, inbox = served.llm, Inbox[Request]()
    requests = await asyncio.to_thread(llm.embedding_requests, texts, inbox.put)
    try:
        llm.submit(requests)
        running = len(requests)
        while running:
            for request in await inbox.take():
                if request.error is not None:
                    raise request.error
                running -= 1
        vectors = await asyncio.to_thread(llm.embeddings, requests)
    finally:
        llm.cancel(requests)
    return cut(vectors, dimensions), sum(request.prompt_tokens for request in requests)


def cut(vectors: np.ndarray, dimensions: int | None) -> np.ndarray:
    """The first `dimensions` numbers of each vector, at length 1 again; all of them for None. float32 `[n, numbers]`"""
    if dimensions is None:
        return vectors
    vectors = vectors[:, :dimensions]
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)

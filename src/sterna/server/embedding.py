"""Vectors of texts, in no dialect."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import numpy as np

from sterna.engine.inbox import Inbox
from sterna.engine.prompts import Prompt
from sterna.engine.request import Request
from sterna.server.models import Served


async def embed(served: Served, texts: Sequence[Prompt], dimensions: int | None = None) -> tuple[np.ndarray, int]:
    """One vector a text, float32 `[n, hidden_size]` of length 1, and how many tokens the texts have. `dimensions` keeps
    that many of the first numbers, and makes the length 1 again. Raises as `LLM.embed`."""
    llm = served.llm
    inbox: Inbox[Request] = llm.inbox()
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
    if dimensions is not None:
        vectors = vectors[:, :dimensions]
        vectors = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    return vectors, sum(request.prompt_tokens for request in requests)

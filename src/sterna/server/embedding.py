"""Vectors of texts, in no dialect."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np

from sterna.engine.inbox import Inbox
from sterna.engine.llm import LLM
from sterna.engine.prompts import Prompt
from sterna.engine.request import HiddenRequest, Request
from sterna.server.deadline import Deadline
from sterna.server.served import Served
from sterna.server.vectors import cut


async def embed(
    served: Served,
    texts: Sequence[Prompt],
    dimensions: int | None = None,
    truncate: bool = False,
    lora: Mapping[str, float] = MappingProxyType({}),
) -> tuple[np.ndarray, int]:
    """One vector a text, float32 `[n, hidden_size]` of length 1, and how many tokens the texts have. `dimensions` keeps
    that many of the first numbers, and makes the length 1 again; `truncate` keeps of a text what fits the context;
    `lora` has scales of adapters. Raises as `LLM.embed`."""
    llm = served.llm
    inbox: Inbox[Request] = llm.inbox()
    deadline = Deadline(served.deadline)

    def requested() -> list[HiddenRequest]:
        fitting = [_fitting(llm, text) for text in texts] if truncate else texts
        return llm.embedding_requests(fitting, inbox.put, served.adapters(lora))

    requests = await asyncio.to_thread(requested)
    try:
        llm.submit(requests)
        running = len(requests)
        while running:
            for request in await inbox.take(deadline.left()):
                if request.error is not None:
                    raise request.error
                running -= 1
        vectors = await asyncio.to_thread(llm.embeddings, requests)
    finally:
        llm.cancel(requests)
    return cut(vectors, dimensions), sum(request.prompt_tokens for request in requests)


def _fitting(llm: LLM, text: Prompt) -> Prompt:
    """The text itself, or the ids of as much of it as fits the context."""
    if not isinstance(text, str):
        return text[: llm.context_length]
    suffix = [] if llm.tokenizer.suffix_id is None else [llm.tokenizer.suffix_id]
    ids = llm.tokenizer.encode(text, limit=llm.context_length)
    return text if len(ids) + len(suffix) <= llm.context_length else [*ids[: llm.context_length - len(suffix)], *suffix]

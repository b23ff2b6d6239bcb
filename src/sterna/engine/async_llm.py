"""`AsyncLLM`: the methods of `LLM` for asyncio. They block the event loop neither while the engine computes nor while a
long text is encoded."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar, overload

import numpy as np

from sterna.checkpoint import Checkpoint
from sterna.engine.adapters import Choice as AdapterChoice
from sterna.engine.generation import Completion
from sterna.engine.inbox import Inbox
from sterna.engine.llm import LLM
from sterna.engine.options import EngineOptions
from sterna.engine.prompts import Prompt, is_one_prompt
from sterna.engine.request import Request
from sterna.engine.sampling import SamplingParams
from sterna.errors import ArgumentError

A = TypeVar("A", bound="AsyncLLM")


class AsyncLLM:
    """An `LLM` whose methods are awaited. Requests of many tasks share the engine's batches.

    `model`: an `LLM`, or what `LLM` takes. Loading blocks the event loop; `await asyncio.to_thread(AsyncLLM, model)`
    does not. When a task is cancelled or an iterator is closed, the engine drops its requests before the next pass.
    Arrays and errors are those of `LLM`. Raises `ArgumentError` for options beside an `LLM`, which has its own.
    """

    def __init__(
        self, model: LLM | str | Path | Checkpoint | None = None, options: EngineOptions | None = None, **named: Any
    ) -> None:
        if isinstance(model, LLM) and (options is not None or named):
            raise ArgumentError("An LLM that exists already keeps its options; give none beside it.")
        self.llm = model if isinstance(model, LLM) else LLM(model, options, **named)

    def __repr__(self) -> str:
        return f"<Async{repr(self.llm)[1:]}"

    async def __aenter__(self: A) -> A:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """As `LLM.close`."""
        await asyncio.to_thread(self.llm.close)

    @overload
    async def generate(
        self, prompts: str | Sequence[int] | np.ndarray, params: SamplingParams | None = None, **named: Any
    ) -> str: ...
    @overload
    async def generate(
        self, prompts: Sequence[Prompt], params: SamplingParams | None = None, **named: Any
    ) -> list[str]: ...
    async def generate(self, prompts: Any, params: SamplingParams | None = None, **named: Any) -> str | list[str]:
        """As `LLM.generate`."""
        if is_one_prompt(prompts):
            return (await self.complete([prompts], params, **named))[0].text
        return [completion.text for completion in await self.complete(prompts, params, **named)]

    async def complete(
        self, prompts: Sequence[Prompt], params: SamplingParams | None = None, **named: Any
    ) -> list[Completion]:
        """As `LLM.complete`."""
        inbox: Inbox[Request] = self.llm.inbox()
        make = self.llm.generations
        generations = await asyncio.to_thread(make, prompts, params, done=inbox.put, **named)
        await self._run(generations, inbox)
        return [generation.completion() for generation in generations]

    async def stream(
        self, prompt: Prompt, params: SamplingParams | None = None, **named: Any
    ) -> AsyncGenerator[str, None]:
        """As `LLM.stream`: `async for piece in llm.stream(...)`."""
        async with aclosing(self.stream_completion(prompt, params, **named)) as pieces:
            async for piece, _ in pieces:
                if piece:
                    yield piece

    async def stream_completion(
        self, prompt: Prompt, params: SamplingParams | None = None, **named: Any
    ) -> AsyncGenerator[tuple[str, Completion | None], None]:
        """As `LLM.stream_completion`."""
        inbox: Inbox[str | Request] = self.llm.inbox()
        make = self.llm.generation
        generation = await asyncio.to_thread(make, prompt, params, done=inbox.put, deliver=inbox.put, **named)
        try:
            self.llm.submit([generation])
            ended = False
            while not ended:
                for event in await inbox.take():
                    if isinstance(event, str):
                        yield event, None
                    else:
                        ended = True
            if generation.error is not None:
                raise generation.error
            yield "", generation.completion()
        finally:
            self.llm.cancel([generation])

    async def chat(
        self, messages: Sequence[Mapping[str, str]], params: SamplingParams | None = None, **named: Any
    ) -> str:
        """As `LLM.chat`."""
        ids = await asyncio.to_thread(lambda: self.llm.tokenizer.encode_chat(messages))
        return await self.generate(ids, params, **named)

    async def tokenize(self, text: str) -> list[int]:
        """As `LLM.tokenize`."""
        return await asyncio.to_thread(self.llm.tokenize, text)

    async def embed(
        self, texts: Sequence[Prompt], *, adapter: AdapterChoice | Sequence[AdapterChoice] = None
    ) -> np.ndarray:
        """As `LLM.embed`."""
        inbox: Inbox[Request] = self.llm.inbox()
        requests = await asyncio.to_thread(self.llm.embedding_requests, texts, inbox.put, adapter)
        await self._run(requests, inbox)
        return await asyncio.to_thread(self.llm.embeddings, requests)

    async def scores(
        self, token_ids: Sequence[int] | np.ndarray, first: int = 1, *, adapter: AdapterChoice = None
    ) -> np.ndarray:
        """As `LLM.scores`."""
        inbox: Inbox[Request] = self.llm.inbox()
        request = await asyncio.to_thread(self.llm.score_request, token_ids, first, inbox.put, adapter)
        await self._run([request], inbox)
        return request.rows

    async def hidden(self, token_ids: Sequence[int] | np.ndarray, *, adapter: AdapterChoice = None) -> np.ndarray:
        """As `LLM.hidden`."""
        inbox: Inbox[Request] = self.llm.inbox()
        request = await asyncio.to_thread(self.llm.hidden_request, token_ids, inbox.put, adapter)
        await self._run([request], inbox)
        return request.rows

    async def logits(self, token_ids: Sequence[int] | np.ndarray, *, adapter: AdapterChoice = None) -> np.ndarray:
        """As `LLM.logits`."""
        return await self.head(await self.hidden(token_ids, adapter=adapter), adapter=adapter)

    async def head(self, hidden: np.ndarray, *, adapter: AdapterChoice = None) -> np.ndarray:
        """As `LLM.head`."""
        return await asyncio.to_thread(self.llm.head, hidden, adapter=adapter)

    async def load_adapter(self, name: str, path: str | Path) -> None:
        """As `LLM.load_adapter`."""
        await asyncio.to_thread(self.llm.load_adapter, name, path)

    async def unload_adapter(self, name: str) -> None:
        """As `LLM.unload_adapter`."""
        await asyncio.to_thread(self.llm.unload_adapter, name)

    async def _run(self, requests: Sequence[Request], inbox: Inbox[Request]) -> None:
        """As `LLM._run`; `done` of the requests must be `inbox.put`."""
        try:
            self.llm.submit(requests)
            running = len(requests)
            while running:
                for request in await inbox.take():
                    running -= 1
                    if request.error is not None:
                        raise request.error
        finally:
            self.llm.cancel(requests)

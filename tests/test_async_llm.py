"""`AsyncLLM`: the same results as `LLM`, without blocking the event loop; cancelled requests leave the engine."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
import pytest

from sterna import LLM, AsyncLLM
from sterna.errors import ArgumentError, ContextLengthError, UnsupportedError

LONG: dict[str, Any] = {"max_tokens": 400, "ignore_eos": True}


@pytest.fixture(scope="module")
def llm() -> LLM:
    """The embedded model."""
    return LLM(threads=2)


def waiting(llm: LLM) -> int:
    """Requests that the engine has, once it has handled all earlier messages."""
    return llm._loop.call(lambda: len(llm._loop.scheduler.requests))


async def pieces(llm: AsyncLLM, prompt: str, **options: Any) -> list[str]:
    return [piece async for piece in llm.stream(prompt, **options)]


def test_every_method_gives_what_the_plain_one_gives(llm: LLM) -> None:
    messages = [{"role": "user", "content": "Hi"}]
    options: dict[str, Any] = {"max_tokens": 12, "temperature": 0.8, "seed": 1}

    async def work() -> list[Any]:
        other = AsyncLLM(llm)
        return await asyncio.gather(
            other.generate("Once", **options),
            other.generate(["Once", [5, 6]], **options),
            other.complete(["Once"], logprobs=2, **options),
            pieces(other, "Once", **options),
            other.chat(messages, **options),
            other.tokenize("Once upon"),
            other.embed(["a", "b"]),
            other.logits([1, 2, 3]),
            other.hidden([1, 2, 3]),
            other.scores([1, 2, 3], 2),
        )

    one, several, complete, streamed, chat, ids, vectors, logits, hidden, scores = asyncio.run(work())
    assert one == "".join(streamed) == llm.generate("Once", **options) and len(streamed) > 1
    assert several == llm.generate(["Once", [5, 6]], **options)
    assert complete[0].logprobs == llm.complete(["Once"], logprobs=2, **options)[0].logprobs
    assert chat == llm.chat(messages, **options) and ids == llm.tokenize("Once upon")
    assert np.array_equal(vectors, llm.embed(["a", "b"]))
    assert np.array_equal(logits, llm.logits([1, 2, 3])) and np.array_equal(hidden, llm.hidden([1, 2, 3]))
    assert np.array_equal(scores, llm.scores([1, 2, 3], 2))


def test_the_event_loop_turns_while_texts_are_made(llm: LLM) -> None:
    async def work() -> int:
        turns = 0
        task = asyncio.create_task(AsyncLLM(llm).generate("Once", **LONG))
        while not task.done():
            await asyncio.sleep(0.001)
            turns += 1
        return turns

    assert asyncio.run(work()) > 10


async def cancel_task(llm: AsyncLLM) -> None:
    task = asyncio.create_task(llm.generate("Once", **LONG))
    while not llm.llm._loop.scheduler.has_requests:
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def close_stream(llm: AsyncLLM) -> None:
    stream = llm.stream("Once", **LONG)
    assert await anext(stream)
    await stream.aclose()


async def cancel_stream(llm: AsyncLLM) -> None:
    begun = asyncio.Event()

    async def read() -> None:
        async for _ in llm.stream("Once", **LONG):
            begun.set()

    task = asyncio.create_task(read())
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def give_up_waiting(llm: AsyncLLM) -> None:
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(llm.complete(["Once"] * 4, **LONG), 0.02)


@pytest.mark.parametrize("leave", [cancel_task, close_stream, cancel_stream, give_up_waiting])
def test_what_nobody_waits_for_leaves_the_engine(llm: LLM, leave: Callable[[AsyncLLM], Awaitable[None]]) -> None:
    async def work() -> int:
        await leave(AsyncLLM(llm))
        return waiting(llm)

    assert asyncio.run(work()) == 0


def test_an_iterator_that_is_left_ends_with_its_event_loop(llm: LLM) -> None:
    async def work() -> None:
        async for _ in AsyncLLM(llm).stream("Once", **LONG):
            break

    asyncio.run(work())
    assert waiting(llm) == 0


def test_errors_are_those_of_the_plain_model(llm: LLM) -> None:
    async def work() -> None:
        other = AsyncLLM(llm)
        with pytest.raises(ContextLengthError):
            await other.generate([5] * (llm.context_length + 1))
        with pytest.raises(ArgumentError, match="did you mean 'temperature'"):
            await other.generate("Once", temprature=1)
        with pytest.raises(ArgumentError):
            await other.complete("Once")
        with pytest.raises(ArgumentError):
            await anext(other.stream("Once", max_tokens=0))

    asyncio.run(work())
    with pytest.raises(ArgumentError, match="keeps its options"):
        AsyncLLM(llm, threads=1)


def test_it_closes_its_model() -> None:
    async def work() -> AsyncLLM:
        async with AsyncLLM("sterna-tern", threads=1) as llm:
            await llm.generate("Once", max_tokens=2)
        with pytest.raises(UnsupportedError, match="closed"):
            await llm.generate("Once")
        return llm

    llm = asyncio.run(work())
    assert repr(llm).startswith("<AsyncLLM 'sterna-tern': ") and repr(llm).endswith(", closed>")

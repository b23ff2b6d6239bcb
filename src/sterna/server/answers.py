"""Answers a question on a loaded model, piece by piece, and stops at once when nobody listens any more."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

from sterna.engine.inbox import Inbox
from sterna.server.answer import Answer, Arrival, Piece
from sterna.server.deadline import Deadline
from sterna.server.journal import note
from sterna.server.question import Question
from sterna.server.served import Served

HEARTBEAT = 15.0
"""Seconds without a piece, after which a stream gives a sign of life."""


class AwaitedAnswer(Answer):
    """An answer that a task of the event loop waits for; its speed goes into the metrics. Iterating over it gives lists
    of pieces that became ready together; an empty list says that there was none for `patience` seconds. The iteration
    raises the error of the engine with which a choice ended, and `ApiError` 504 at the deadline."""

    def __init__(self, served: Served, question: Question, inbox: Inbox[Arrival]) -> None:
        self._meter, self._deadline, self._begun = served.meter, Deadline(served.deadline), time.perf_counter()
        self.patience: float | None = None
        """Seconds without a piece after which the iteration gives an empty list; None: `HEARTBEAT`."""
        self._inbox = inbox
        super().__init__(served.llm, replace(question, lora=served.adapters(question.lora)), inbox.put)
        self._measured = {choice.index: (choice.generation.prompt_tokens, self._begun) for choice in self._choices}
        """By choice: the tokens that were measured so far, and when they were there."""

    async def __aiter__(self) -> AsyncGenerator[list[Piece], None]:
        while self.running:
            arrived = await self._inbox.take(min(self.patience or HEARTBEAT, self._deadline.left()))
            for index, tokens in {arrival.choice: arrival.tokens for arrival in arrived}.items():
                self._measure(index, tokens)
            yield self.pieces(arrived)

    def _measure(self, index: int, tokens: int) -> None:
        """Records the time that the tokens of a choice took which came since the last call; there are `tokens` with the
        prompt."""
        (measured, since), now = self._measured[index], time.perf_counter()
        gained = tokens - measured
        if gained > 0:
            if measured == self._choices[index].generation.prompt_tokens:
                self._meter.first_token(now - since)
            else:
                self._meter.next_token((now - since) / gained)
            self._measured[index] = tokens, now

    def cancel(self) -> None:
        super().cancel()
        for choice in self._choices:
            self._meter.ended(choice.generation, counts_prompt=choice in self._leaders)
        self._meter.whole(time.perf_counter() - self._begun)
        note(prompt_tokens=self.usage.prompt, completion_tokens=self.usage.completion)


@asynccontextmanager
async def answering(served: Served, question: Question) -> AsyncIterator[AwaitedAnswer]:
    """An answer that has begun. Leaving the block takes what still runs out of the engine."""
    answer = await asyncio.to_thread(AwaitedAnswer, served, question, served.llm.inbox())
    try:
        answer.begin()
        yield answer
    finally:
        answer.cancel()


async def all_pieces(answer: AwaitedAnswer) -> list[Piece]:
    """All pieces, once they have come."""
    return [piece async for pieces in answer for piece in pieces]

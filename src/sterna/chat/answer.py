"""An answer that is being generated."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from queue import Empty, SimpleQueue
from types import MappingProxyType

from sterna.engine.generation import Completion
from sterna.engine.llm import LLM
from sterna.engine.request import Request
from sterna.engine.sampling import SamplingParams
from sterna.server.events import Event, Parser, Text, Thinking

SECONDS = 0.1
"""Time between two reports about a prompt that is being computed."""


@dataclass(frozen=True)
class Reading:
    """The prompt is being computed: of `tokens` tokens this share, from 0 to 1, is done."""

    share: float
    tokens: int


class Answer:
    """Iterating generates the answer, and yields what there is to show of it: `Reading`, `Thinking` and `Text`.

    `text` and `thoughts` are what came so far. Raises in the iteration what the engine raises. `prompt`: token ids;
    `parser`: parts the thoughts from the answer; `adapters`: scales by name.
    """

    def __init__(
        self,
        llm: LLM,
        prompt: Sequence[int],
        params: SamplingParams,
        parser: Parser,
        adapters: Mapping[str, float] = MappingProxyType({}),
    ) -> None:
        self._llm, self._parser = llm, parser
        self._events: SimpleQueue[str | Request | None] = SimpleQueue()
        self._generation = llm.generation(
            prompt, params, done=self._events.put, deliver=self._events.put, adapter=adapters
        )
        self.text, self.thoughts = "", ""
        self.stopped = False
        self.thinking_seconds = 0.0
        """From the beginning of the thoughts to that of the answer, or to the end."""
        self._thinking_since: float | None = None

    def stop(self) -> None:
        """Ends the iteration soon, with what there is. A signal handler may call this: the queue is reentrant."""
        self.stopped = True
        self._events.put(None)

    def completion(self) -> Completion:
        """The tokens and speeds of the answer, once the iteration has ended; `interrupted` is the stop reason of one
        that was stopped."""
        completion = self._generation.completion()
        return replace(completion, stop_reason="interrupted") if self.stopped else completion

    def __iter__(self) -> Iterator[Reading | Thinking | Text]:
        generation = self._generation
        self._llm.submit([generation])
        try:
            over = False
            while not over and not self.stopped:
                try:
                    items = [self._events.get(timeout=SECONDS)]
                except Empty:
                    if not generation.completion_ids:
                        yield Reading(generation.num_computed / generation.prompt_tokens, generation.prompt_tokens)
                    continue
                while not self._events.empty():
                    items.append(self._events.get())
                over = any(not isinstance(item, str) for item in items)
                yield from self._taken(self._parser.feed("".join(item for item in items if isinstance(item, str))))
            if generation.error is not None:
                raise generation.error
            yield from self._taken(self._parser.finish())
        finally:
            self._llm.cancel([generation])
            self._stop_thinking()

    def _taken(self, events: Sequence[Event]) -> Iterator[Thinking | Text]:
        """Notes the events, and passes them on without the white space before answer and thoughts."""
        for event in events:
            if isinstance(event, Thinking):
                piece = event.text if self.thoughts else event.text.lstrip()
                if piece:
                    self._thinking_since = self._thinking_since or time.monotonic()
                    self.thoughts += piece
                    yield Thinking(piece)
            elif isinstance(event, Text):
                piece = event.text if self.text else event.text.lstrip()
                if piece:
                    self._stop_thinking()
                    self.text += piece
                    yield Text(piece)

    def _stop_thinking(self) -> None:
        if self._thinking_since is not None:
            self.thinking_seconds += time.monotonic() - self._thinking_since
            self._thinking_since = None

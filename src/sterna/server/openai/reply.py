"""What the replies and the chunks of one request have in common."""

from __future__ import annotations

from typing import Any

from sterna.server.answers import AwaitedAnswer
from sterna.server.openai.stamp import Stamp
from sterna.server.openai.timings import progress_body
from sterna.server.sse import PING, sse

PROGRESS_EVERY = 0.25
"""Seconds between two reports on a prompt."""


class Reply:
    """The chunks of a stream."""

    def __init__(self, kind: str, prefix: str, stamp: Stamp) -> None:
        self._head = stamp.head(kind, prefix)

    def chunk(self, *choices: dict[str, Any], **fields: Any) -> bytes:
        """One event of a stream."""
        return sse({**self._head, "choices": choices, **fields})

    def progress(self, answer: AwaitedAnswer) -> bytes:
        """How far the prompts are. The answer shall say soon whether it has news."""
        answer.patience = PROGRESS_EVERY
        return self.chunk(prompt_progress=progress_body(answer))

    def no_news(self, answer: AwaitedAnswer, return_progress: bool) -> bytes:
        """A sign of life: how far the prompts are, as long as that is asked for and they are not complete, else a
        comment."""
        if return_progress and not answer.usage.completion:
            return self.progress(answer)
        answer.patience = None
        return PING


DONE = b"data: [DONE]\n\n"
"""The end of every stream that did not break off."""

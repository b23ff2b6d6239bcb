"""What the replies and the chunks of one request have in common."""

from __future__ import annotations

import time
import uuid
from typing import Any

from sterna import __version__
from sterna.server.answers import Answer
from sterna.server.openai.timings import progress_body
from sterna.server.sse import PING, sse

PROGRESS_EVERY = 0.25
"""Seconds between two reports on a prompt."""


class Reply:
    """The identity of a reply: its id, its kind, when it was made, and by which model."""

    def __init__(self, kind: str, prefix: str, model: str) -> None:
        self._head = {
            "id": f"{prefix}-{uuid.uuid4().hex}",
            "object": kind,
            "created": int(time.time()),
            "model": model,
            "system_fingerprint": f"sterna-{__version__}",
        }

    def body(self, **fields: Any) -> dict[str, Any]:
        """A whole reply, or one chunk of it."""
        return {**self._head, **fields}

    def chunk(self, *choices: dict[str, Any], **fields: Any) -> bytes:
        """One event of a stream."""
        return sse(self.body(choices=choices, **fields))

    def progress(self, answer: Answer) -> bytes:
        """How far the prompts are. The answer shall say soon whether it has news."""
        answer.patience = PROGRESS_EVERY
        return self.chunk(prompt_progress=progress_body(answer))

    def no_news(self, answer: Answer, return_progress: bool) -> bytes:
        """A sign of life: how far the prompts are, as long as that is asked for and they are not complete, else a
        comment."""
        if return_progress and not answer.usage.completion:
            return self.progress(answer)
        answer.patience = None
        return PING


DONE = b"data: [DONE]\n\n"
"""The end of every stream that did not break off."""

"""What the replies and the chunks of one request have in common."""

from __future__ import annotations

import time
import uuid
from typing import Any

from sterna import __version__
from sterna.server.sse import sse


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


DONE = b"data: [DONE]\n\n"
"""The end of every stream that did not break off."""

"""What the replies and the chunks of one request have in common."""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass, field
from typing import Any

from sterna import __version__
from sterna.server.sse import sse


@dataclass(frozen=True)
class Stamp:
    """Who made a reply, and when: `key` makes its ids its own, `created` is in seconds since 1970."""

    model: str
    key: str = field(default_factory=lambda: uuid.uuid4().hex)
    created: int = field(default_factory=lambda: int(time.time()))


class Reply:
    """What begins a reply, or each chunk of it."""

    def __init__(self, kind: str, prefix: str, stamp: Stamp) -> None:
        self._head = {
            "id": f"{prefix}-{stamp.key}",
            "object": kind,
            "created": stamp.created,
            "model": stamp.model,
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

"""Server-sent events."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

from sterna.server.json_text import json_bytes

Chunks = AsyncGenerator[bytes, None]

PING = b": ping\n\n"
"""A comment, which clients ignore. It keeps proxies from closing a stream in which nothing happens."""


def sse(value: Any, event: str | None = None) -> bytes:
    """One event whose data is JSON."""
    return (f"event: {event}\ndata: ".encode() if event else b"data: ") + json_bytes(value) + b"\n\n"

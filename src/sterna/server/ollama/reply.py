"""What replies have in common: lines of JSON, times, and errors."""

from __future__ import annotations

import time
from datetime import datetime, timezone
from typing import Any

from sterna.server.errors import ApiError
from sterna.server.json_text import json_bytes

NDJSON = "application/x-ndjson"


def error_body(error: ApiError) -> dict[str, str]:
    """The body of an error."""
    return {"error": error.message}


def error_line(error: ApiError) -> bytes:
    """The line with which a stream breaks off."""
    return line(error_body(error))


def line(value: Any) -> bytes:
    """One line of a stream."""
    return json_bytes(value) + b"\n"


def time_text(seconds: float) -> str:
    """A time in seconds since 1970, as RFC 3339 has it."""
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec="microseconds").replace("+00:00", "Z")


def nanoseconds(seconds: float) -> int:
    """A duration in Ollama's unit."""
    return round(seconds * 1e9)


class Reply:
    """The replies to one request, and how long it takes."""

    def __init__(self, model: str | None) -> None:
        """`model`: its name in the request."""
        self._model, self._began, self._loaded = model, time.perf_counter(), 0.0

    def loaded(self, name: str) -> None:
        """Records that the model is ready; `name` is for requests that give none."""
        self._model, self._loaded = self._model or name, time.perf_counter()

    def body(self, done: bool = False, **fields: Any) -> dict[str, Any]:
        """A reply, or a line of one."""
        return {"model": self._model, "created_at": time_text(time.time()), **fields, "done": done}

    def durations(self) -> dict[str, int]:
        """Nanoseconds since the request came, and until its model was ready."""
        return {
            "total_duration": nanoseconds(time.perf_counter() - self._began),
            "load_duration": nanoseconds(self._loaded - self._began),
        }

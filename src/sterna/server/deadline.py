"""The time that a request may take."""

from __future__ import annotations

import math
import time

from sterna.server.errors import ApiError


class Deadline:
    """Begins to run when it is made."""

    def __init__(self, seconds: float | None) -> None:
        """None: no limit."""
        self._seconds = seconds
        self._end = math.inf if seconds is None else time.monotonic() + seconds

    def left(self) -> float:
        """Seconds that are left. Raises `ApiError` 504 where there are none; a client need not try again, for the next
        answer would take as long."""
        left = self._end - time.monotonic()
        if left > 0:
            return left
        raise ApiError(
            504,
            f"The answer took longer than {self._seconds:g} seconds, the limit of this server.",
            code="deadline_exceeded",
            headers={"x-should-retry": "false"},
        )

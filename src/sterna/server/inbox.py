"""Hands what engine threads produce to a task of the event loop."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Generic, TypeVar

E = TypeVar("E")

HEARTBEAT = 15.0
"""Seconds without an event, after which those who wait may give a sign of life."""


class Inbox(Generic[E]):
    """Events for one task. Those that come before the event loop turns are taken together: one wake, not one each."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._events: deque[E] = deque()
        self._waking = False
        self._woken = asyncio.Event()

    def put(self, event: E) -> None:
        """Queues an event, from any thread. A closed event loop has no task that waits, so nobody is woken."""
        self._events.append(event)
        if not self._waking:
            self._waking = True
            try:
                self._loop.call_soon_threadsafe(self._woken.set)
            except RuntimeError:
                pass

    async def take(self) -> list[E]:
        """All events that have come, at least one; none where nothing comes for `HEARTBEAT` seconds."""
        expired = False

        def expire() -> None:
            nonlocal expired
            expired = True
            self._woken.set()

        timer = self._loop.call_later(HEARTBEAT, expire)
        try:
            while not self._events and not expired:
                await self._woken.wait()
                self._woken.clear()
                self._waking = False  # before the events are looked at: one that comes later wakes the task again
        finally:
            timer.cancel()
        events: list[E] = []
        while self._events:
            events.append(self._events.popleft())
        return events

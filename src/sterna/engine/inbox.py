"""Hands what requests give on the engine's thread to tasks of an event loop."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Generic, TypeVar
from weakref import WeakKeyDictionary, ref

if TYPE_CHECKING:
    from sterna.engine.loop import Loop

E = TypeVar("E")

REST, REST_OF_TASK, MOST_REST = 0.01, 0.004, 0.05
"""Seconds between two wakes of an event loop for events that are not urgent: at least, for each task that is woken, and
at most. A small model makes thousands of tokens a second, which would share the processor with a wake for each."""


class Inbox(Generic[E]):
    """Events for one task of an event loop.

    All tasks of the loop are woken together, at the end of a pass of the engine: in the middle of one, the engine's
    thread would have to wait for the interpreter's lock while the tasks run.
    """

    def __init__(self, engine: Loop) -> None:
        """`engine`: whose callbacks put events. The event loop is the running one."""
        self._engine, self._loop = engine, asyncio.get_running_loop()
        self._tasks = _tasks_of(self._loop)
        self._events: deque[E] = deque()
        self._woken = asyncio.Event()
        self._waking = False

    def put(self, event: E, urgent: bool = True) -> None:
        """Queues an event, in a callback of a request. One that is not urgent may wait for `MOST_REST` seconds."""
        self._events.append(event)
        if not self._waking:
            self._waking = True
            self._tasks.due.append(self._woken.set)
        if urgent or not self._tasks.resting:
            self._engine.after_turn(self._tasks.wake)

    async def take(self, seconds: float = math.inf) -> list[E]:
        """All events that have come, at least one; none where nothing comes for so many seconds."""
        end = self._loop.time() + seconds
        while not self._events and (left := end - self._loop.time()) > 0:
            timer = self._loop.call_later(left, self._woken.set) if left < math.inf else None
            try:
                await self._woken.wait()
            finally:
                if timer is not None:
                    timer.cancel()
            self._woken.clear()
            self._waking = False  # before events are looked at: one that comes later wakes the task again
        events: list[E] = []
        while self._events:
            events.append(self._events.popleft())
        return events


class _Tasks:
    """The tasks of an event loop that are to be woken."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = ref(loop)
        self.due: deque[Callable[[], None]] = deque()
        """What wakes them. Engines' threads append to it."""
        self.resting = False
        """Whether those in `due` will be woken without a message to the loop, at the end of its rest."""

    def wake(self) -> None:
        """Wakes all of them with one message, from any thread. A closed event loop has no task that waits."""
        loop = self._loop()
        if loop is not None:
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        woken = 0
        while self.due:
            self.due.popleft()()
            woken += 1
        if not self.resting:
            self.resting = True
            rest = min(max(REST, woken * REST_OF_TASK), MOST_REST)
            asyncio.get_running_loop().call_later(rest, self._end_rest)

    def _end_rest(self) -> None:
        self.resting = False  # before `due` is looked at: what is appended later sends a message
        if self.due:
            self._wake()


_known: WeakKeyDictionary[asyncio.AbstractEventLoop, _Tasks] = WeakKeyDictionary()


def _tasks_of(loop: asyncio.AbstractEventLoop) -> _Tasks:
    if loop not in _known:
        _known[loop] = _Tasks(loop)
    return _known[loop]

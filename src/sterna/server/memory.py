"""The memory that the loaded models of a server share."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import suppress

from sterna.errors import UnsupportedError
from sterna.files.sizes import readable
from sterna.server.errors import ApiError
from sterna.server.known import Known
from sterna.server.served import Served, loaded_bytes


class NoRoomAtStart(Exception):
    """A model given at the start finds no room beside those before it."""


class Memory:
    """Decides which models make room for another one, and how far KV caches grow. All methods run on the event loop."""

    def __init__(
        self,
        limit: int | None,
        pinned: Collection[str],
        loaded: Callable[[], Sequence[Served]],
        unload: Callable[[str], Awaitable[None]],
    ) -> None:
        """`limit`: bytes for all models with their caches; None: no limit. `pinned`: names of models that are never
        unloaded. `loaded` gives the models that are ready, `unload` frees one by its name."""
        self._limit, self._pinned, self._loaded, self._unload = limit, pinned, loaded, unload
        self.users: Counter[str] = Counter()
        """Requests that use a model or wait for it, by its name."""
        self.guests: Counter[str] = Counter()
        """Work that uses a model until a request needs its memory."""
        self.released = asyncio.Event()
        """Set whenever a model has become idle or was unloaded."""

    async def share(self, *new: Served) -> None:
        """Lets the KV caches of the loaded models, and of `new` ones, grow: each by an equal part of the memory that is
        left."""
        if self._limit is None:
            return
        for served in (*self._loaded(), *new):  # so that none grows while it is found out what is left
            await _limit_cache(served, 0)
        models = [*self._loaded(), *new]
        part = max(self._limit - sum(served.bytes for served in models), 0) // max(len(models), 1)
        for served, limit in [(served, served.cache_bytes + part) for served in models]:
            await _limit_cache(served, limit)

    async def make_room(self, known: Known, needed: int, evicts: bool) -> None:
        """Unloads idle models, the longest idle first, until the memory that one more needs is free; waits while those
        that are left serve. Raises `ApiError` where it does not fit beside the pinned ones, and `NoRoomAtStart` where
        it may not unload any."""
        if self._limit is None:
            return
        while sum(served.bytes for served in self._loaded()) + needed > self._limit:
            others = [served for served in self._loaded() if served.name not in self._pinned]
            idle = [served for served in others if not self.users[served.name]]
            self.released.clear()
            if others and not evicts:
                raise NoRoomAtStart
            if idle:
                await self._unload(min(idle, key=lambda each: (self.guests[each.name], each.last_used)).name)
            elif others:
                await self.released.wait()
            else:
                free = self._limit - sum(served.bytes for served in self._loaded())
                raise ApiError(
                    500,
                    f"The model {known.name} needs {readable(needed)}, and {readable(max(free, 0))} are free for it "
                    "(--memory, less what pinned models take).",
                    code="model_too_large",
                )

    async def wait_for_room(self, known: Known, is_needed: Callable[[], bool]) -> None:
        """Waits while a model could not be loaded before requests to others end, and `is_needed()`: whoever loads a
        model keeps those waiting who load another."""
        while self._limit is not None and is_needed():
            busy = [each for each in self._loaded() if self.users[each.name] and each.name not in self._pinned]
            stays = [each for each in self._loaded() if each in busy or each.name in self._pinned]
            if not busy or sum(each.bytes for each in stays) + loaded_bytes(known) <= self._limit:
                return
            self.released.clear()
            await self.released.wait()


async def _limit_cache(served: Served, limit: int) -> None:
    with suppress(UnsupportedError):  # it was closed meanwhile
        await asyncio.to_thread(served.llm.limit_cache, limit)

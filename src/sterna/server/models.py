"""The models of a server: known names, each of which is loaded when it is needed, as far as memory allows."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import Any

from sterna.engine.known_answer import check_answers
from sterna.engine.llm import LLM
from sterna.engine.loop import CLOSED
from sterna.engine.options import EngineOptions
from sterna.errors import ArgumentError, SternaError, UnsupportedError, listed, shown
from sterna.files.hub.cache import remove_cached
from sterna.files.hub.download import Tell
from sterna.server.errors import ApiError
from sterna.server.known import Known, pulled
from sterna.server.memory import Memory, NoRoomAtStart
from sterna.server.metrics import Engine, Metrics
from sterna.server.served import Policy, Served, loaded_bytes

log = logging.getLogger("sterna.server")


class Models:
    """The known models. Their names come from the one who starts the server and from the hub's cache, never from a
    request. All methods run on the event loop."""

    def __init__(
        self,
        given: Sequence[Known],
        options: EngineOptions | None = None,
        policy: Policy | None = None,
        cached: Sequence[Known] = (),
    ) -> None:
        """`given` are loaded at the start, as far as memory allows, and the first of them serves the requests that name
        none; `cached` are loaded when a request names them. Raises `ArgumentError` for a pinned model that is unknown.
        """
        self._known = {each.name: each for each in (*cached, *given)}
        self._given = [each.name for each in given]
        policy = policy or Policy()
        for name in policy.pinned:
            if name not in self._known:
                raise ArgumentError(f"There is no model {shown(name)} to pin; there are {listed(list(self._known))}.")
        self._options = options
        self._policy = replace(policy, pinned={self._known[name].loads for name in policy.pinned})
        self.metrics = Metrics(
            lambda: [Engine(served.name, served.bytes, served.llm.statistics) for served in self.loaded()]
        )
        self.stopping = False
        """Whether the server takes no more requests."""
        self._loads: dict[str, asyncio.Task[Served]] = {}
        self._memory = Memory(policy.memory, self._policy.pinned, self.loaded, self.unload)
        self._loading = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()

    def known(self) -> list[Known]:
        """All known models, those given at the start first."""
        others = [name for name in self._known if name not in self._given]
        return [self._known[name] for name in (*self._given, *others)]

    def find(self, name: str | None) -> Known:
        """The known model of a name. Raises `ApiError` 404 where there is none."""
        known = self._known.get(name) if name else self.known()[0]
        if known is None:
            names = listed([each.name for each in self.known()])
            raise ApiError(
                404, f"There is no model {shown(name)}; this server has {names}.", param="model", code="model_not_found"
            )
        return known

    def loaded(self) -> list[Served]:
        """The models that are ready."""
        return [load.result() for load in self._loads.values() if _is_ready(load)]

    @property
    def ready(self) -> bool:
        """Whether a request that names no model would be answered without waiting for one."""
        load = self._loads.get(self._given[0])
        return not self.stopping and load is not None and _is_ready(load)

    def start(self) -> None:
        """Begins to load the models given at the start, in the background: pinned ones first, then those for which
        memory is left."""
        left = math.inf if self._policy.memory is None else self._policy.memory
        models = [name for name in self._given if self._known[name].base is None]
        for name in sorted(models, key=lambda name: name not in self._policy.pinned):
            left -= loaded_bytes(self._known[name])
            if left >= 0:
                self._load(self._known[name], evicts=False)

    async def close(self) -> None:
        """Frees all models; requests that run fail."""
        await asyncio.gather(*map(self.unload, list(self._loads)))

    @asynccontextmanager
    async def use(
        self, name: str | None, keep_alive: float | None = None, gives_way: bool = False
    ) -> AsyncIterator[Served]:
        """The loaded model of a name, for the time of a request. `keep_alive`: seconds for which it then stays loaded,
        in place of the server's own. `gives_way`: for work that nobody waits for. It waits until the model has room,
        and the model may be closed meanwhile, if a request needs its memory.

        Raises `ApiError`: 404 for an unknown name, 503 while the model is being loaded or has no room, 500 where it
        cannot be loaded.
        """
        asked, served = self.find(name), None
        known = self.find(asked.loads)
        users = self._memory.guests if gives_way else self._memory.users
        users[known.name] += 1
        try:
            if gives_way:
                await self._memory.wait_for_room(known, lambda: known.name not in self._loads)
            served = await self._served(known, None if gives_way else self._policy.patience)
            yield served if asked is known else replace(served, known=asked, adapter=asked.adapter)
        finally:
            users[known.name] -= 1
            if served is not None:
                served.last_used = time.time()
                self._keep(served, self._policy.keep_alive if keep_alive is None else keep_alive)
            self._memory.released.set()

    async def unload(self, name: str) -> None:
        """Frees a model; requests that use it or wait for it fail. Loading cannot be stopped: a model that is being
        loaded is freed when that has ended. Nothing happens where it is not loaded."""
        load = self._loads.pop(name, None)
        if load is None:
            return
        if not _is_ready(load):
            load.cancel()
            await asyncio.wait({load})
            return
        served = load.result()
        if served.expiry is not None:
            served.expiry.cancel()
        await asyncio.to_thread(served.llm.close)
        self._memory.released.set()
        log.info("unloaded", extra={"model": name})
        self._later(self._share())  # what it leaves

    async def pull(self, name: str, tell: Tell = lambda downloaded: None) -> Known:
        """Downloads a model of the hub, or brings it up to date, and knows it from then on. `tell` hears of each piece
        of weights that comes, on another thread. Raises as `pulled`."""
        known = await asyncio.to_thread(pulled, name, tell)
        known = replace(known, name=name)
        self._known[name] = known
        return known

    def copy(self, name: str, new: str) -> None:
        """Knows a model by a second name as well, until the server ends.

        Raises `ApiError` 404 for an unknown model, and 400 for a name that another one has.
        """
        known = self.find(name)
        if new in self._known or not new.strip():
            raise ApiError(400, f"The name {shown(new)} is taken or empty.", param="destination")
        self._known[new] = replace(known, name=new, reference=None)

    async def delete(self, name: str) -> None:
        """Unloads a copy or a model of the hub's cache and forgets it; its repository is removed from the cache, with
        all models in it.

        Raises `ApiError` 404 for an unknown model, and 403 where one that was given at the start would go.
        """
        known = self.find(name)
        gone = [known.name]
        if known.reference is not None:
            gone = [each.name for each in self.known() if each.reference == known.reference]
        given = next((each for each in gone if each in self._given), None)
        if given is not None:
            raise ApiError(403, f"The model {given} was given when the server was started, and stays.", param="model")
        for each in gone:
            await self.unload(each)
            self._known.pop(each, None)
        if known.reference is not None:
            await asyncio.to_thread(remove_cached, known.reference)

    async def _served(self, known: Known, patience: float | None) -> Served:
        load = self._load(known)
        await asyncio.wait({load}, timeout=patience)
        if load.done() and not load.cancelled() and isinstance(load.exception(), NoRoomAtStart):
            load = self._load(known)
            await asyncio.wait({load}, timeout=patience)
        if not load.done():
            raise ApiError(
                503, f"The model {known.name} is being loaded; ask again.", code="model_loading", retry_after=1
            )
        if _is_ready(load):
            return load.result()
        if self._loads.get(known.name) is load:
            del self._loads[known.name]  # a later request tries again
        if load.cancelled():
            raise UnsupportedError(CLOSED)
        error = load.exception()
        assert error is not None
        if isinstance(error, ApiError | MemoryError | OSError | SternaError):
            raise _told(known, error) from error
        raise error

    def _load(self, known: Known, evicts: bool = True) -> asyncio.Task[Served]:
        """The task that loads or has loaded a model. `evicts`: whether others may make room for it."""
        if known.name not in self._loads:
            self._loads[known.name] = load = asyncio.create_task(self._loaded(known, evicts))
            load.add_done_callback(partial(self._load_ended, known))
        return self._loads[known.name]

    def _load_ended(self, known: Known, load: asyncio.Task[Served]) -> None:
        error = None if load.cancelled() else load.exception()
        if isinstance(error, NoRoomAtStart):
            del self._loads[known.name]  # the first request for it loads it
        elif error is not None:
            log.error("not loaded", extra={"model": known.name, "reason": f"{type(error).__name__}: {error}"})

    async def _loaded(self, known: Known, evicts: bool) -> Served:
        async with self._loading:  # one at a time, so that each knows what memory the others left
            await self._memory.make_room(known, loaded_bytes(known), evicts)
            begun = time.monotonic()
            opening = asyncio.create_task(asyncio.to_thread(_open, known, self._options))
            try:
                llm = await asyncio.shield(opening)
            except asyncio.CancelledError:
                await asyncio.wait({opening})  # its thread goes on; the next load is to find the memory free
                if opening.exception() is None:
                    await asyncio.to_thread(opening.result().close)
                raise
            seconds = round(time.monotonic() - begun, 3)
            served = Served(known, llm, self.metrics.meter(known.name), self._policy.deadline)
            try:
                await self._memory.make_room(known, served.bytes, evicts)
                await self._memory.share(served)
            except BaseException:
                await asyncio.to_thread(llm.close)
                raise
        log.info("loaded", extra={"model": known.name, "seconds": seconds, "bytes": loaded_bytes(known)})
        self._keep(served, self._policy.keep_alive)
        return served

    async def _share(self) -> None:
        async with self._loading:
            await self._memory.share()

    def _keep(self, served: Served, seconds: float) -> None:
        """Unloads a model after so many seconds, unless it is in use then, or pinned."""
        if served.expiry is not None:
            served.expiry.cancel()
        served.expires, served.expiry = math.inf, None
        if served.name not in self._policy.pinned and not math.isinf(seconds):
            served.expires = time.time() + seconds
            served.expiry = asyncio.get_running_loop().call_later(seconds, self._expire, served)

    def _expire(self, served: Served) -> None:
        if not self._memory.users[served.name] and not self._memory.guests[served.name] and served in self.loaded():
            self._later(self.unload(served.name))

    def _later(self, what: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(what)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _open(known: Known, options: EngineOptions | None) -> LLM:
    """Loads a model and makes sure that it computes what it should."""
    llm = LLM(known.path, options, adapters=dict(known.adapters))
    try:
        check_answers(llm)
    except BaseException:
        llm.close()
        raise
    return llm


def _is_ready(load: asyncio.Task[Served]) -> bool:
    return load.done() and not load.cancelled() and load.exception() is None


def _told(known: Known, error: ApiError | MemoryError | OSError | SternaError) -> ApiError:
    """What clients are told of a model that cannot be loaded."""
    if isinstance(error, ApiError):
        return error
    reason = "there is not enough memory." if isinstance(error, MemoryError) else str(error)
    return ApiError(500, f"The model {known.name} cannot be loaded: {reason}", code="model_broken")

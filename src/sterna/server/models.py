"""The models of a server: known names, each of which is loaded when it is first needed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from sterna.engine.llm import LLM
from sterna.engine.options import EngineOptions
from sterna.errors import ArgumentError, SternaError, listed, shown
from sterna.files.hub.cache import resolve_model
from sterna.files.local import model_name
from sterna.server.errors import ApiError

PATIENCE = 10.0
"""Seconds that a request waits for its model to be loaded, before it is told to come again."""


@dataclass(frozen=True)
class Known:
    """A model that requests may name."""

    name: str
    path: Path

    @property
    def created(self) -> int:
        """When its file was made: seconds since 1970."""
        return int(self.path.stat().st_mtime)


@dataclass(eq=False)
class Served:
    """A loaded model."""

    known: Known
    llm: LLM

    @property
    def name(self) -> str:
        """The name by which requests know it."""
        return self.known.name


def known_models(models: Sequence[str]) -> list[Known]:
    """The models of a command line under their `model_name`s. Raises as `resolve_model`, and `ArgumentError` where two
    models would have one name."""
    found: dict[str, Known] = {}
    for text in models:
        path = resolve_model(text)
        name = model_name(text, path)
        if name in found:
            raise ArgumentError(f"Two models are called {name}: {found[name].path} and {path}; rename one.")
        found[name] = Known(name, path)
    return list(found.values())


class Models:
    """The known models. Their names come from the one who starts the server, never from a request."""

    def __init__(
        self, known: Sequence[Known], options: EngineOptions | None = None, patience: float = PATIENCE
    ) -> None:
        """`patience`: seconds that a request waits for its model to be loaded, before it is told to come again."""
        self._known = {each.name: each for each in known}
        self._options, self._patience = options, patience
        self._loads: dict[str, asyncio.Task[Served]] = {}

    def known(self) -> list[Known]:
        """All known models; the first serves the requests that name none."""
        return list(self._known.values())

    def find(self, name: str | None) -> Known:
        """The known model of a name. Raises `ApiError` 404 where there is none."""
        known = self._known.get(name) if name else self.known()[0]
        if known is None:
            names = listed(list(self._known))
            raise ApiError(
                404, f"There is no model {shown(name)}; this server has {names}.", param="model", code="model_not_found"
            )
        return known

    def start(self) -> None:
        """Begins to load all models, in the background."""
        for known in self.known():
            self._load(known)

    async def close(self) -> None:
        """Frees all models; requests that run fail."""
        for load in await asyncio.gather(*self._loads.values(), return_exceptions=True):
            if isinstance(load, Served):
                await asyncio.to_thread(load.llm.close)

    @asynccontextmanager
    async def use(self, name: str | None) -> AsyncIterator[Served]:
        """The loaded model of a name, for the time of a request. Raises `ApiError`: 404 for an unknown name, 503 while
        the model is being loaded, 500 where it cannot be."""
        known = self.find(name)
        load = self._load(known)
        await asyncio.wait({load}, timeout=self._patience)
        if not load.done():
            raise ApiError(
                503, f"The model {known.name} is being loaded; ask again.", code="model_loading", retry_after=1
            )
        try:
            served = load.result()
        except SternaError as error:
            self._loads.pop(known.name, None)  # a later request tries again
            raise ApiError(500, f"The model {known.name} cannot be loaded: {error}", code="model_broken") from error
        yield served

    def _load(self, known: Known) -> asyncio.Task[Served]:
        """The task that loads or has loaded a model."""
        if known.name not in self._loads:
            load = asyncio.to_thread(lambda: Served(known, LLM(known.path, self._options)))
            self._loads[known.name] = asyncio.create_task(load)
        return self._loads[known.name]

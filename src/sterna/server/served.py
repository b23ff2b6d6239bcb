"""A loaded model, and for how long and with how much memory models are loaded."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from sterna.engine.llm import LLM
from sterna.server.known import Known
from sterna.server.metrics import Meter

PATIENCE = 10.0
"""Seconds that a request waits for its model to be loaded, before it is told to come again."""


@dataclass(frozen=True)
class Policy:
    """When models are loaded and unloaded, and how long a request may take."""

    memory: int | None = None
    """Most bytes for all loaded models with their KV caches, which share what the models leave; None: no limit."""
    keep_alive: float = 300.0
    """Seconds after its last request for which a model stays loaded; infinite: until its memory is needed."""
    pinned: Collection[str] = ()
    """Names of models that are never unloaded."""
    deadline: float | None = None
    """Seconds after which a request ends with an error; None: no limit."""
    patience: float = PATIENCE


@dataclass(eq=False)
class Served:
    """A loaded model."""

    known: Known
    llm: LLM
    meter: Meter
    deadline: float | None = None
    """Seconds that one request may take."""
    adapter: str | None = None
    """The adapter that the request's name of the model stands for."""
    last_used: float = field(default_factory=time.time)
    expires: float = math.inf
    """When it will be unloaded, unless it is used before: seconds since 1970."""
    expiry: asyncio.TimerHandle | None = None

    @property
    def name(self) -> str:
        """The name by which requests know it."""
        return self.known.name

    def adapters(self, asked: Mapping[str, float]) -> Mapping[str, float]:
        """The scales of the adapters of a request: that of the model's name, and those that it asks for besides."""
        return {**({} if self.adapter is None else {self.adapter: 1.0}), **asked}

    @property
    def bytes(self) -> int:
        """About how much memory it takes now, or will for one text that fills the context."""
        return loaded_bytes(self.known) + self.cache_bytes

    @property
    def cache_bytes(self) -> int:
        """The part of its KV cache in `bytes`."""
        statistics = self.llm.statistics
        return max(statistics.cache_bytes, statistics.least_cache_bytes)


def loaded_bytes(known: Known) -> int:
    """About how much memory a model takes once it is loaded: its weights, repacked, an eighth for the rest, and its
    adapters."""
    return known.bytes + known.bytes // 8 + known.adapter_bytes

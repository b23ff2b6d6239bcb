"""What an engine is doing, and what it has done since its model was loaded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sterna.engine.kv_cache import KvCache
from sterna.engine.scheduler import Scheduler


@dataclass(frozen=True)
class Statistics:
    """Numbers of one moment. They are read while the engine works, so they may be one pass apart."""

    running: int
    """Requests that have blocks in the KV cache."""
    waiting: int
    """Requests that wait for admission."""
    cache_use: float
    """How many KV blocks requests have, of those that they may have: a share from 0 to 1. Blocks that only keep known
    prefixes count as free."""
    cache_bytes: int
    """Memory that the KV cache has taken."""
    least_cache_bytes: int
    """What it takes for one text that fills the context."""
    passes: int
    """Forward passes so far."""
    tokens: int
    """Tokens that entered them."""
    preemptions: int
    """How often a request gave up its blocks, to be computed again."""
    prefix_queries: int
    """Tokens of prompts that could have come from the prefix cache."""
    prefix_hits: int
    """Tokens of prompts that did."""

    @classmethod
    def of(cls, scheduler: Scheduler, cache: KvCache, block_bytes: Sequence[int]) -> Statistics:
        """The numbers of an engine; `block_bytes`: those of one block or slot of each group of the cache."""
        return cls(
            running=scheduler.running,
            waiting=scheduler.waiting,
            cache_use=cache.use,
            cache_bytes=cache.taken(block_bytes),
            least_cache_bytes=cache.least(block_bytes),
            passes=scheduler.passes,
            tokens=scheduler.tokens,
            preemptions=scheduler.preemptions,
            prefix_queries=scheduler.prefix_queries,
            prefix_hits=scheduler.prefix_hits,
        )

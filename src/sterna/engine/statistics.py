"""What an engine is doing, and what it has done since its model was loaded."""

from __future__ import annotations

from dataclasses import dataclass


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

"""What a pass spends its time on, and what bounds it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

NAMED_FROM = 0.02
"""Share of a pass from which a part is named in what is printed."""

NEAR_MEMORY = (0.85, 1.15)
"""A part that reads at a rate between these shares of the plain read's waits for memory. A part that reads faster has
its bytes in caches."""

PassTimes = tuple[int, int, dict[str, float]]
"""Tokens, sequences and seconds by part of one pass, as `_native.Profile.passes` has them."""


@dataclass(frozen=True)
class Work:
    """What a pass does: bytes that its parts read (`matrices`, `head`, `attention`) and int8 multiply-adds of the
    layers' matrices for each token."""

    bytes: dict[str, int]
    multiply_adds: int


@dataclass(frozen=True)
class PassReport:
    """The mean of some passes. `shares`: of its time, by part, the largest first; they add up to 1. `gbs`: 1e9 bytes a
    second that each part of `Work.bytes` reads while it runs; `gmacs`: 1e9 multiply-adds a second of the matrices.
    `bound_by`: `bytes`, `instructions`, `barriers` or `python` (`bound`)."""

    tokens: float
    ms: float
    shares: dict[str, float]
    gbs: dict[str, float]
    gmacs: float
    bound_by: str


def report(passes: Sequence[PassTimes], work: Work, memory_gbs: float) -> PassReport:
    """The mean of passes that do the same work, beside a plain read of memory with the same threads."""
    seconds: dict[str, float] = {}
    for _, _, parts in passes:
        for part, time in parts.items():
            seconds[part] = seconds.get(part, 0.0) + time / len(passes)
    total = sum(seconds.values())
    tokens = sum(tokens for tokens, _, _ in passes) / len(passes)
    gbs = {part: read / seconds[part] / 1e9 for part, read in work.bytes.items() if seconds.get(part)}
    shares = {part: time / total for part, time in sorted(seconds.items(), key=lambda item: -item[1])}
    return PassReport(
        tokens=tokens,
        ms=total * 1e3,
        shares=shares,
        gbs=gbs,
        gmacs=tokens * work.multiply_adds / seconds["matrices"] / 1e9,
        bound_by=bound(shares, gbs, memory_gbs),
    )


def bound(shares: dict[str, float], gbs: dict[str, float], memory_gbs: float) -> str:
    """What most of a pass's time goes to: `bytes`, `barriers`, `python` or `instructions`.

    The time of a part that reads about as fast as a plain read (`NEAR_MEMORY`) goes to bytes, the time in which threads
    wait for each other to barriers, the time between two calls of the engine to Python, and all other time to
    instructions.
    """
    least, most = NEAR_MEMORY
    times = {"bytes": 0.0, "instructions": 0.0, "barriers": 0.0, "python": 0.0}
    for part, share in shares.items():
        if part in ("barriers", "python"):
            times[part] += share
        else:
            times["bytes" if least <= gbs.get(part, 0.0) / memory_gbs <= most else "instructions"] += share
    return max(times, key=times.__getitem__)

"""Statistics of a precision: retention, whether a difference is more than chance, and which kind of task loses more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import comb

import numpy as np

LEAST_ABOVE_CHANCE, MOST_RIGHT = 0.20, 0.97
"""A task counts if the share of items that the float model gets right is above chance by at least the first of these,
and is at most the second. In other tasks a loss could not be seen."""
RESAMPLES = 1000


@dataclass(frozen=True)
class Ratio:
    """The mean loss of retention in tasks of maths, divided by that in language, and the ends of its 95 % interval.
    Where there is no ratio all three are None, and `reason` says why."""

    value: float | None
    low: float | None
    high: float | None
    reason: str | None


def counts(right: np.ndarray, chance: float) -> bool:
    """Whether a task counts, by what the float model gets right of it (bool [items])."""
    share = float(right.mean())
    return chance + LEAST_ABOVE_CHANCE <= share <= MOST_RIGHT


def retention(right: np.ndarray, reference: np.ndarray, chance: float) -> float:
    """(accuracy - chance) / (the float model's accuracy - chance)."""
    return float((right.mean() - chance) / (reference.mean() - chance))


def mcnemar(right: np.ndarray, reference: np.ndarray) -> float:
    """The probability that two models that are equally good differ so much on the same items (McNemar's exact test, two
    sides)."""
    lost, won = int((reference & ~right).sum()), int((right & ~reference).sum())
    n = lost + won
    return min(1.0, 2 * sum(comb(n, k) for k in range(min(lost, won) + 1)) / 2**n) if n else 1.0


Pairs = Sequence[tuple[np.ndarray, np.ndarray, float]]
"""Of each task: what the precision gets right, what the float model does (bool [items]), and chance."""


def loss_ratio(maths: Pairs, language: Pairs, seed: int = 0) -> Ratio:
    """The ratio of mean losses; its interval by drawing the items of every task anew, pairs together (percentiles of
    the bootstrap)."""
    if not maths or not language:
        return Ratio(None, None, None, f"no task of {'maths' if not maths else 'language'} passes the filter")
    rng = np.random.default_rng(seed)
    if _loss(language) <= 0:
        return Ratio(None, None, None, "language loses nothing")
    ratios, undefined = [], 0
    for _ in range(RESAMPLES):
        losses = [_loss([_drawn(rng, task) for task in tasks]) for tasks in (maths, language)]
        if losses[1] > 0 and np.isfinite(losses).all():
            ratios.append(losses[0] / losses[1])
        else:
            undefined += 1
    if undefined > RESAMPLES // 40:
        return Ratio(None, None, None, "the loss in language cannot be told from none")
    low, high = np.percentile(ratios, [2.5, 97.5])
    return Ratio(_loss(maths) / _loss(language), float(low), float(high), None)


def _drawn(
    rng: np.random.Generator, task: tuple[np.ndarray, np.ndarray, float]
) -> tuple[np.ndarray, np.ndarray, float]:
    right, reference, chance = task
    index = rng.integers(0, len(right), len(right))
    return right[index], reference[index], chance


def _loss(tasks: Pairs) -> float:
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(np.mean([1 - np.divide(r.mean() - chance, f.mean() - chance) for r, f, chance in tasks]))

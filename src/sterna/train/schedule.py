"""Learning rate and weight decay of every step, and the stages that they go through."""

from __future__ import annotations

import math
from collections.abc import Callable

from sterna.train.config import TrainingSection


def _wsd(step: int, training: TrainingSection) -> float:
    return min(1.0, (training.steps - step) / max(training.steps * training.decay_share, 1))


def _linear(step: int, training: TrainingSection) -> float:
    return (training.steps - step) / training.steps


def _cosine(step: int, training: TrainingSection) -> float:
    return (1 + math.cos(math.pi * step / training.steps)) / 2


SHAPES: dict[str, Callable[[int, TrainingSection], float]] = {"wsd": _wsd, "linear": _linear, "cosine": _cosine}
"""The factor on the peak learning rate after the warm-up, by the name of its schedule: constant with a linear decay
over the last `decay_fraction` (WSD, arXiv 2404.06395), linear to 0, or half a cosine to 0 (arXiv 1608.03983)."""


def learning_rate_factor(step: int, training: TrainingSection) -> float:
    """The factor on every peak learning rate, for steps from 0.

    A linear warm-up, then the schedule's shape. In the second stage the peak is `second_learning_rate`: the rate drops
    to the line of a lower peak (Microsoft's "The Era of 1-bit LLMs: Training Tips, Code and FAQ", two-stage schedule).
    """
    warmup = (step + 1) / max(training.warmup_steps, 1)
    factor = max(0.0, min(warmup, SHAPES[training.schedule](step, training)))
    if training.second_stage is not None and step >= _second(training):
        assert training.second_learning_rate is not None
        factor *= training.second_learning_rate / training.learning_rate
    return factor


def weight_decay(step: int, training: TrainingSection) -> float:
    """`training.weight_decay`, and 0 in the second stage; without one, 0 once the decay of `wsd` has begun.

    Weight decay pulls latent weights towards the thresholds between codes, so codes go on flipping and the model does
    not settle (the same source, two-stage weight decay).
    """
    settles = stage(step, training) in ("second stage", "decay")
    return 0.0 if settles else training.weight_decay


def stage(step: int, training: TrainingSection) -> str:
    """The name of the stage to which a step belongs."""
    return [name for first, name in stages(training) if first <= step][-1]


def stages(training: TrainingSection) -> list[tuple[int, str]]:
    """The first step and the name of each stage: what loss curves are to be read with, because the loss falls fastest
    where the learning rate does."""
    begun = max(training.warmup_steps - 1, 0)
    if training.second_stage is not None:
        after, last = "first stage", (_second(training), "second stage")
    elif training.schedule == "wsd":
        after, last = "constant", (_decay(training), "decay")
    else:
        after, last = training.schedule, (training.steps, "end")
    found = [(0, "warm-up"), (begun, after), last]
    # A stage of no steps is none: without a warm-up, or with one longer than the stage after it.
    ends = [last[0] if begun >= last[0] else begun, last[0], training.steps]
    return [(first, name) for (first, name), end in zip(found, ends, strict=True) if first < min(end, training.steps)]


def _second(training: TrainingSection) -> int:
    assert training.second_stage is not None
    return round(training.steps * training.second_stage)


def _decay(training: TrainingSection) -> int:
    """The first step at less than the peak learning rate."""
    return training.steps - math.ceil(max(training.steps * training.decay_share, 1)) + 1

"""Decides which steps are not taken: those whose loss or gradients are no numbers, or are far above the last ones."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from statistics import fmean, stdev
from typing import Any

from sterna.errors import FormatError

WINDOW = 128
"""How many of the last steps a step is compared with (OLMo-core's SkipStepOptimizer has this and the rule below)."""
LEAST = WINDOW // 2
"""With fewer steps to compare with, none is a spike."""


class Guard:
    """Compares each step's loss and gradient norm with those of the last steps.

    A step is a spike if one of the two is more than `sigmas` standard deviations above its mean over the window.
    Numbers that are finite enter the window even if their step was skipped, so a level that stays is accepted in time.
    """

    def __init__(self, sigmas: float) -> None:
        self.sigmas = sigmas
        self.skipped = 0
        """How many steps in a row have been skipped."""
        self._recent: dict[str, deque[float]] = {"loss": deque(maxlen=WINDOW), "gradient norm": deque(maxlen=WINDOW)}

    def reason(self, loss: float, norm: float) -> str | None:
        """Why a step is not to be taken, as the end of a sentence; None where it is."""
        values = {"loss": loss, "gradient norm": norm}
        reason = self._reason(values)
        if all(map(math.isfinite, values.values())):
            for name, value in values.items():
                self._recent[name].append(value)
        self.skipped = 0 if reason is None else self.skipped + 1
        return reason

    def _reason(self, values: Mapping[str, float]) -> str | None:
        if not all(map(math.isfinite, values.values())):
            return f"the loss is {values['loss']} and the norm of its gradients {values['gradient norm']}"
        for name, value in values.items():
            recent = self._recent[name]
            if len(recent) < LEAST:
                continue
            mean, deviation = fmean(recent), stdev(recent)
            if value > mean + self.sigmas * deviation:
                return f"its {name} {value:.4g} is a spike above {mean:.4g} ± {deviation:.2g}"
        return None

    def recorded(self) -> dict[str, Any]:
        """What a state records, so that a resumed run skips the same steps."""
        return {"skipped": self.skipped, **{name: list(values) for name, values in self._recent.items()}}

    def restore(self, recorded: Mapping[str, Any]) -> None:
        """The inverse of `recorded`; an empty mapping changes nothing. Raises FormatError for anything else."""
        skipped = recorded.get("skipped", 0)
        windows = {name: recorded.get(name, []) for name in self._recent}
        known = type(skipped) is int and all(
            isinstance(values, list) and len(values) <= WINDOW and all(type(value) is float for value in values)
            for values in windows.values()
        )
        if not known:
            raise FormatError("The state does not say what the last losses and gradient norms were.")
        self.skipped = skipped
        for name, values in windows.items():
            self._recent[name].extend(values)

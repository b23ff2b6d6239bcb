"""Energy from a power that is read again and again."""

from __future__ import annotations

from collections.abc import Callable


class Summed:
    """Joules since it was made, by the trapezoidal rule; `watts` and `clock` (seconds) are read at each call."""

    def __init__(self, watts: Callable[[], float], clock: Callable[[], float]) -> None:
        self._watts, self._clock = watts, clock
        self._last, self._power, self._total = clock(), watts(), 0.0

    def __call__(self) -> float:
        now, power = self._clock(), self._watts()
        self._total += (power + self._power) / 2 * (now - self._last)
        self._last, self._power = now, power
        return self._total

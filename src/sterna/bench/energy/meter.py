"""Measures the energy of a piece of work, beside what the machine takes when it does nothing."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from types import TracebackType

from sterna.bench.energy.sensors import Sensor

SAMPLE_SECONDS = 0.5
"""Seconds between readings: often enough to add up a battery's power, and to read a counter before it wraps."""


@dataclass(frozen=True)
class Energy:
    """`joules` in `seconds`, as `source` measured them."""

    source: str
    joules: float
    seconds: float

    @property
    def watts(self) -> float:
        """The mean power; 0 for no time."""
        return self.joules / self.seconds if self.seconds else 0.0

    def above(self, idle: Energy) -> float:
        """Joules above what the machine takes when idle."""
        return self.joules - idle.watts * self.seconds


class Meter:
    """Counts while a `with` block runs; `energy` is what it took, None where the sensor failed on the way."""

    def __init__(self, sensor: Sensor) -> None:
        self._sensor = sensor
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._failed = False
        self.energy: Energy | None = None

    def __enter__(self) -> Meter:
        self._joules, self._began = self._read(), time.perf_counter()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()
        seconds = time.perf_counter() - self._began
        joules = self._read() - self._joules
        if not self._failed:
            self.energy = Energy(self._sensor.source, joules, seconds)

    def _sample(self) -> None:
        while not self._over.wait(SAMPLE_SECONDS):
            self._read()

    def _read(self) -> float:
        try:
            return self._sensor.joules()
        except (OSError, ValueError):
            self._failed = True
            return 0.0


def measure_idle(sensor: Sensor, seconds: float) -> Energy | None:
    """What the machine takes while this process sleeps."""
    with Meter(sensor) as meter:
        time.sleep(seconds)
    return meter.energy

"""What can measure energy here: the counters of the processor and of graphics cards, a battery, or a person with a
meter."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from sterna.bench.energy.nvml import find_nvml
from sterna.bench.energy.rapl import POWERCAP, find_rapl
from sterna.bench.energy.summed import Summed

SUPPLIES = Path("/sys/class/power_supply")


class Sensor(Protocol):
    """Anything that counts energy. `source`: what it is, in words."""

    source: str

    def joules(self) -> float:
        """Joules since the sensor was made; called at least every few seconds."""


class Watts:
    """A power that somebody read from a meter, constant while it is used."""

    def __init__(self, watts: float, clock: Callable[[], float] = time.perf_counter) -> None:
        self.source = f"--watts {watts:g}"
        self._watts, self._clock, self._began = watts, clock, clock()

    def joules(self) -> float:
        return self._watts * (self._clock() - self._began)


class Battery:
    """The power that a battery gives, summed over time: that of the whole machine with its screen."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.perf_counter) -> None:
        self.source = f"battery {path.name}"
        self._path = path
        self._summed = Summed(self.watts, clock)

    def watts(self) -> float:
        """Raises OSError or ValueError where the battery does not say."""
        try:
            # Some drivers give what flows out of a battery as negative.
            return abs(int((self._path / "power_now").read_text())) / 1e6
        except FileNotFoundError:
            amperes, volts = (int((self._path / name).read_text()) / 1e6 for name in ("current_now", "voltage_now"))
            return abs(amperes) * volts

    def joules(self) -> float:
        return self._summed()


class Together:
    """Sensors of different parts of the machine; `without`: which part is missing, and why."""

    def __init__(self, sensors: Sequence[Sensor], without: str = "") -> None:
        self.source = " and ".join(sensor.source for sensor in sensors) + (f", without {without}" if without else "")
        self._sensors = sensors

    def joules(self) -> float:
        return sum(sensor.joules() for sensor in self._sensors)


def find_sensor(
    watts: float | None = None, powercap: Path = POWERCAP, supplies: Path = SUPPLIES
) -> tuple[Sensor | None, str]:
    """The best sensor of this machine, or the reason why there is none: a meter's `watts`, then the counters of the
    processor with those of graphics cards, then a battery that is not charging, then the cards alone, whose source
    says that the processor is missing."""
    if watts is not None:
        return Watts(watts), ""
    rapl, reason = find_rapl(powercap)
    cards = find_nvml()
    if rapl is not None:
        return (Together([rapl, cards]) if cards else rapl), ""
    for path in sorted(supplies.glob("*")):
        try:
            if (path / "status").read_text().strip() == "Discharging":
                return Battery(path), ""
        except (OSError, ValueError):
            continue
    if cards is not None:
        return Together([cards], f"the processor: {reason}"), ""
    return None, f"{reason}, and no battery is in use; read a meter and give --watts"

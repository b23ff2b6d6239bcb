"""The flags of verbs that measure energy."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from sterna.cli.options import value_flag
from sterna.engine.checks import Number
from sterna.errors import ArgumentError

if TYPE_CHECKING:
    from sterna.bench.energy.meter import Meter
    from sterna.bench.energy.sensors import Sensor

Energy = Annotated[
    bool, typer.Option("--energy", help="Say what the work takes: by two models, and measured where a sensor is.")
]
WattsFlag = Annotated[
    float | None, value_flag(Number(above=0), "--watts", help="With --energy: the power that a meter shows meanwhile.")
]


def sensor_for(energy: bool, watts: float | None) -> tuple[Sensor | None, str] | None:
    """What `find_sensor` finds, or None where energy was not asked for. Raises `ArgumentError` for a power without
    `--energy`."""
    if watts is not None and not energy:
        raise ArgumentError("--watts goes with --energy.")
    if not energy:
        return None
    from sterna.bench.energy.sensors import find_sensor

    return find_sensor(watts)


@contextmanager
def metered(sensor: tuple[Sensor | None, str] | None) -> Iterator[Meter | None]:
    """Counts the energy of a `with` block; None without a sensor."""
    if sensor is None or sensor[0] is None:
        yield None
        return
    from sterna.bench.energy.meter import Meter

    with Meter(sensor[0]) as meter:
        yield meter

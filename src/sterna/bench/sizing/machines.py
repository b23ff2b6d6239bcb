"""Machines that one does not have: what their memory and arithmetic can do at most, with sources and dates."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields, replace
from pathlib import Path

from sterna.errors import ArgumentError, FormatError, suggestion
from sterna.files.regular import open_regular

DECODE_EFFICIENCY = 0.75
"""Share of the bandwidth that Sterna's decode reaches where nothing was measured: 0.78 to 0.81 on the machines of
docs/measurements.md, of a bandwidth that was measured; a data sheet's is higher."""
PREFILL_EFFICIENCY = 0.5
"""Share of the int8 rate that prefill reaches where nothing was measured: 0.17 with AMX, 0.54 with AVX-512, 0.91 with
AVX2 (docs/measurements.md)."""
LARGEST_FILE = 1 << 16
TEXTS = ("name", "source", "date")
"""The fields of `MachineFacts` that are no numbers."""


@dataclass(frozen=True)
class MachineFacts:
    """`memory_gb`: memory in 1e9 bytes; `memory_gbs`: 1e9 bytes a second; `int8_gmacs`: 1e9 int8 multiply-adds a
    second; `watts`: under load. None where it is not known. `decode_efficiency`, `prefill_efficiency`: the shares of
    the bandwidth and of the int8 rate that decode and prefill reach. `source` says where the figures come from and
    `date` when they were looked up."""

    name: str
    memory_gbs: float
    memory_gb: float | None = None
    int8_gmacs: float | None = None
    decode_efficiency: float = DECODE_EFFICIENCY
    prefill_efficiency: float = PREFILL_EFFICIENCY
    watts: float | None = None
    source: str = ""
    date: str = ""


SHEET = "data sheet (bandwidth); int8 rate = cores x GHz x multiply-adds a cycle, an estimate"
MACHINES = tuple(
    replace(machine, date="2026-11-25")
    for machine in (
        MachineFacts("Raspberry Pi 5", 17.1, 8, 4 * 2.4 * 32, watts=11, source=SHEET),
        MachineFacts("i7-13800H", 83.2, 32, 6 * 4.0 * 64 + 8 * 3.0 * 32, watts=45, source=SHEET),
        MachineFacts("i9-13900K", 89.6, 64, 8 * 5.4 * 64 + 16 * 4.3 * 32, watts=125, source=SHEET),
        MachineFacts("M2", 100, 16, 4 * 3.5 * 128, source=SHEET),
        MachineFacts("M2 Pro", 200, 32, 8 * 3.5 * 128, source=SHEET),
        MachineFacts("M2 Ultra", 800, 192, 16 * 3.5 * 128, source=SHEET),
        MachineFacts("EPYC 7V13", 204.8, 448, source="data sheet (bandwidth)"),
        MachineFacts("c7g.16xlarge", 307.2, 128, 64 * 2.6 * 64, source=SHEET),
        MachineFacts("2 cores of Zen 3", 28.9, None, 297, 0.81, 0.91, source="measured: docs/measurements.md"),
        MachineFacts(
            "2 cores of a Xeon with AMX", 30.8, None, 6573, 0.78, 0.17, source="measured: docs/measurements.md"
        ),
    )
)


def machine(name: str) -> MachineFacts:
    """The machine of this name, or as a JSON file describes it. Raises `ArgumentError` for an unknown name,
    `NotFoundError` and `FormatError` as `read_machine`."""
    known = {entry.name.lower(): entry for entry in MACHINES}
    if name.lower() in known:
        return known[name.lower()]
    path = Path(name)
    if path.suffix.lower() == ".json" or path.is_file():
        return read_machine(path)
    names = ["HERE", *(entry.name for entry in MACHINES)]
    raise ArgumentError(f"There is no machine '{name}' and no such JSON file{suggestion(name, names)}")


def read_machine(path: Path) -> MachineFacts:
    """A machine from a JSON object with the fields of `MachineFacts`, of which only `memory_gbs` must be there.

    Raises `NotFoundError` where no such file can be read, `FormatError` for one that describes no machine.
    """
    with open_regular(path) as file:
        data = file.read(LARGEST_FILE + 1)
    try:
        raw = json.loads(data) if len(data) <= LARGEST_FILE else None
    except (ValueError, RecursionError):
        raw = None
    if not isinstance(raw, dict):
        raise FormatError(f"{path} is no JSON object that describes a machine.")
    known = {field.name: field for field in fields(MachineFacts)}
    values: dict[str, object] = {"name": path.stem}
    for name, value in raw.items():
        if name not in known:
            raise FormatError(f"{path} has an entry {name!r}; a machine has {', '.join(known)}.")
        is_text = name in TEXTS
        valid = isinstance(value, str) if is_text else _positive(value) or (value is None and name != "memory_gbs")
        if not valid:
            raise FormatError(f"{path}: {name} must be {'a text' if is_text else 'a number above 0'}.")
        if value is not None:
            values[name] = value
    if "memory_gbs" not in values:
        raise FormatError(f"{path} has no memory_gbs, the bandwidth in 1e9 bytes a second.")
    return MachineFacts(**values)  # type: ignore[arg-type]


def _positive(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < 1e12

"""The energy counters that processors keep of themselves, as Linux shows them (powercap; Intel's RAPL and AMD's)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

POWERCAP = Path("/sys/class/powercap")
ROOT_ONLY = (
    "the counters in {} are readable by root alone (CVE-2020-8694); run as root, or let a group read them: "
    "chgrp GROUP energy_uj; chmod g+r energy_uj"
)


@dataclass
class Zone:
    """One counter. `total_uj`: microjoules since the first reading, over all the times that the counter began anew at
    `range_uj`."""

    path: Path
    range_uj: int
    last_uj: int
    total_uj: int = 0

    def read(self) -> int:
        """Adds what was used since the last reading; a counter must be read at least once before it wraps twice."""
        now = int((self.path / "energy_uj").read_text())
        self.total_uj += (now - self.last_uj) % (self.range_uj + 1)
        self.last_uj = now
        return self.total_uj


class Rapl:
    """The packages of this machine, and their memory where it has a counter beside (`dram`)."""

    def __init__(self, zones: list[Zone], names: list[str]) -> None:
        self._zones = zones
        self.source = f"powercap ({', '.join(names)})"

    def joules(self) -> float:
        """Since this object was made. Raises OSError or ValueError where a counter can no longer be read."""
        return sum(zone.read() for zone in self._zones) / 1e6


def find_rapl(root: Path = POWERCAP) -> tuple[Rapl | None, str]:
    """The counters below `root`, and why there are none. Zones of cores and of graphics are part of a package's, and
    `psys` of the whole board has the packages in it, so neither is added."""
    zones, names, refused = [], [], False
    for path in sorted(root.glob("intel-rapl:*")):
        try:
            name = (path / "name").read_text().strip()
            if not name.startswith(("package", "dram")):
                continue
            value = int((path / "energy_uj").read_text())
            zones.append(Zone(path, int((path / "max_energy_range_uj").read_text()), value))
            names.append(name)
        except PermissionError:
            refused = True
        except (OSError, ValueError):
            continue
    if refused:  # a sum without some of its parts would be wrong
        return None, ROOT_ONLY.format(root)
    return (Rapl(zones, names), "") if zones else (None, f"{root} has no counters of energy")

"""What this process may use of the machine: threads, memory and instruction set."""

from __future__ import annotations

import os
import platform
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sterna import _native
from sterna.engine.options import MAX_THREADS, THREADS
from sterna.errors import ArgumentError


@dataclass(frozen=True)
class Machine:
    """`cpu`: the processor's name; `cores`: processors that this process may run on; `isas`: instruction sets that
    Sterna can use, best first."""

    cpu: str
    cores: int
    isas: list[str]


def this_machine() -> Machine:
    """The machine that this process runs on."""
    return Machine(cpu_name(), processors(), _native.available_isas())


def cpu_name(path: Path = Path("/proc/cpuinfo")) -> str:
    """The processor's name, with family and model, which name the generation where a virtual machine hides it."""
    try:
        lines = path.read_text(errors="replace").split("\n\n")[0].splitlines()
    except OSError:
        lines = []
    fields = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    if "model name" not in fields:
        return _native.processor_name() or platform.processor() or platform.machine()
    return f"{fields['model name']} (family {fields.get('cpu family')}, model {fields.get('model')})"


def processors() -> int:
    """Processors that this process may run on; those of the fastest kind, where the system tells kinds apart."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return _native.performance_cores() or os.cpu_count() or 1


def default_threads() -> int:
    """`STERNA_THREADS`, or the processors that this process may run on. Raises `OptionError` if malformed."""
    text = os.environ.get("STERNA_THREADS", "")
    if text:
        threads: int = THREADS.read("STERNA_THREADS", text)
        return threads
    return min(processors(), cpu_quota(), MAX_THREADS)


def cpu_quota(path: Path = Path("/sys/fs/cgroup/cpu.max")) -> int:
    """Processors that the control group (v2) grants, rounded up; `MAX_THREADS` where it sets no limit."""
    try:
        quota, period = path.read_text().split()
        return max(1, -(-int(quota) // int(period)))
    except (OSError, ValueError, ZeroDivisionError):  # no control group, or "max": no limit
        return MAX_THREADS


def available_memory(proc: Path = Path("/proc"), cgroups: Path = Path("/sys/fs/cgroup")) -> int | None:
    """Bytes that this process can still take without swapping: what the system and its control groups (v2, v1) leave,
    pages of files counted as free. None where the system does not say."""
    rooms = [room for room in (_free_memory(proc / "meminfo"), *_cgroup_rooms(proc, cgroups)) if room is not None]
    return max(0, min(rooms)) if rooms else _native.available_memory() or None


def _free_memory(path: Path) -> int | None:
    try:
        return _table(path)["MemAvailable:"] * 1024
    except (OSError, ValueError, KeyError):
        return None


def _cgroup_rooms(proc: Path, cgroups: Path) -> Iterator[int | None]:
    """The room in this process's control group and in each above it, where they set limits."""
    try:
        lines = (proc / "self" / "cgroup").read_text().splitlines()
    except (OSError, ValueError):
        return
    for line in lines:  # number:controllers:path; v2 has no controllers
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            root, limit, usage = cgroups, "memory.max", "memory.current"
        elif "memory" in controllers.split(","):
            root, limit, usage = cgroups / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes"
        else:
            continue
        own = root / path.lstrip("/")
        for group in (own, *own.parents):
            if group.is_relative_to(root):
                yield _cgroup_room(group / limit, group / usage, group / "memory.stat")


def _cgroup_room(limit: Path, usage: Path, stat: Path) -> int | None:
    try:
        files = _table(stat)
        return int(limit.read_text()) - int(usage.read_text()) + files["active_file"] + files["inactive_file"]
    except (OSError, ValueError, KeyError):  # no such group from inside a container, or "max": no limit
        return None


def _table(path: Path) -> dict[str, int]:
    """The first two words of each line."""
    return {line.split()[0]: int(line.split()[1]) for line in path.read_text().splitlines()}


def choose_isa() -> str:
    """`STERNA_ISA`, or the best instruction set; scalar, with a warning, where its kernels fail the known-answer test.

    Raises `ArgumentError` where `STERNA_ISA` names one that is unknown or that this processor lacks, and where
    `STERNA_TABLES`, which the engine reads, is malformed.
    """
    if (tables := os.environ.get("STERNA_TABLES", "")) not in ("", "0", "1"):
        raise ArgumentError(f"STERNA_TABLES is '{tables}'; set it to 0 or 1, or unset it.")
    available = _native.available_isas()
    isa = os.environ.get("STERNA_ISA") or available[0]
    if isa not in available:
        raise ArgumentError(
            f"STERNA_ISA is '{isa}', but this processor and build have {', '.join(available)}; unset it or name one."
        )
    if not _native.known_answers_hold(isa):
        warnings.warn(f"The {isa} kernels gave wrong answers on this machine; using scalar.", stacklevel=2)
        return "scalar"
    return isa

"""What this process may use of the machine: threads and instruction set."""

from __future__ import annotations

import os
import platform
import warnings
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
        return platform.processor() or platform.machine()
    return f"{fields['model name']} (family {fields.get('cpu family')}, model {fields.get('model')})"


def processors() -> int:
    """Processors that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


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

"""What this process may use of the machine: threads and instruction set."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

from sterna import _native
from sterna.engine.options import MAX_THREADS, THREADS
from sterna.errors import ArgumentError


def default_threads() -> int:
    """`STERNA_THREADS`, or the processors that this process may run on. Raises `OptionError` if malformed."""
    text = os.environ.get("STERNA_THREADS", "")
    if text:
        threads: int = THREADS.read("STERNA_THREADS", text)
        return threads
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(processors, cpu_quota(), MAX_THREADS)


def cpu_quota(path: Path = Path("/sys/fs/cgroup/cpu.max")) -> int:
    """Processors that the control group (v2) grants, rounded up; `MAX_THREADS` where it sets no limit."""
    try:
        quota, period = path.read_text().split()
        return max(1, -(-int(quota) // int(period)))
    except (OSError, ValueError, ZeroDivisionError):  # no control group, or "max": no limit
        return MAX_THREADS


def choose_isa() -> str:
    """`STERNA_ISA`, or the best instruction set; scalar, with a warning, where its kernels fail the known-answer test.

    Raises `ArgumentError` where `STERNA_ISA` names one that is unknown or that this processor lacks.
    """
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
